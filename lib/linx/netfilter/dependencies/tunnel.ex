defmodule Linx.Netfilter.Dependencies.Tunnel do
  @moduledoc false
  # Loads inside a tunnel: the kernel's `inner` expression around the load, with what it has to
  # know of the tunnel's header.
  #
  # Source: nft's descriptions of VXLAN, GENEVE, GRE and GRETAP; enum nft_inner_type, enum
  # nft_inner_flags.

  alias Linx.Netfilter.{Expr, Protocol}

  @doc "The data of an `inner` expression around `expr`."
  @spec data(atom(), Expr.t()) :: map()
  def data(tunnel, %Expr{} = expr),
    do: Map.merge(Protocol.tunnel(tunnel), %{num: 0, type: tunnel, expr: expr})

  @spec inner(Expr.t(), atom()) :: Expr.t()
  def inner(%Expr{} = expr, tunnel), do: %Expr{name: :inner, data: data(tunnel, expr)}

  @doc "A dependency of the inner packet: its load wrapped, what decides as it is."
  @spec wrap([Expr.t()], atom()) :: [Expr.t()]
  def wrap(segment, tunnel) do
    Enum.map(segment, fn
      %Expr{name: name} = load when name in [:payload, :meta, :exthdr] -> inner(load, tunnel)
      expr -> expr
    end)
  end

  @doc """
  The tunnel whose packet a segment reads, with its loads laid bare; nil for one that reads the
  packet itself.
  """
  @spec unwrap([Expr.t()]) :: {atom(), [Expr.t()]} | nil
  def unwrap([%Expr{name: :inner, data: %{type: tunnel, expr: %Expr{name: name}}} | _] = segment)
      when name != :inner do
    if Protocol.tunnel(tunnel) do
      bare =
        Enum.map(segment, fn
          %Expr{name: :inner, data: %{expr: %Expr{} = expr}} -> expr
          expr -> expr
        end)

      {tunnel, bare}
    end
  end

  def unwrap(_segment), do: nil

  @doc """
  Whether the rule must have found the tunnel's own protocol before: GRE is one, the others are
  UDP at some port.
  """
  @spec protocol(atom()) :: atom() | nil
  def protocol(tunnel) when tunnel in [:gre, :gretap], do: :gre
  def protocol(_tunnel), do: nil
end
