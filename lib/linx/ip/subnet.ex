defmodule Linx.IP.Subnet do
  @moduledoc """
  An address with a prefix length, as in `192.0.2.7/24`.

  The address keeps its host bits, so that one value serves both for "this network" and for "this
  address on that network" (what an interface is given); `network/1` clears them.

      iex> import Linx.IP
      iex> Linx.IP.Subnet.network(~IP"192.0.2.7/24")
      ~IP"192.0.2.0"
      iex> Linx.IP.Subnet.contains?(~IP"2001:db8::/32", ~IP"2001:db8:5::1")
      true

  Source: RFC 4632 (prefixes), RFC 4291.
  """

  import Bitwise

  alias Linx.IP

  @type t :: %__MODULE__{address: IP.t(), prefix: 0..128}

  @enforce_keys [:address, :prefix]
  defstruct [:address, :prefix]

  @doc """
  Reads `"address/length"`. The length is decimal, at most 32 for IPv4 and 128 for IPv6.

  Anything else is `{:error, {:invalid_subnet, text}}`, a bare address too: the caller knows
  whether a missing length means a host or a mistake.
  """
  @spec parse(binary()) :: {:ok, t()} | {:error, {:invalid_subnet, term()}}
  def parse(string) when is_binary(string) do
    with [address, length] <- String.split(string, "/"),
         {:ok, ip} <- IP.parse(address),
         {:ok, prefix} <- prefix_length(length),
         true <- prefix <= bit_size(ip.bytes) do
      {:ok, %__MODULE__{address: ip, prefix: prefix}}
    else
      _ -> {:error, {:invalid_subnet, string}}
    end
  end

  def parse(other), do: {:error, {:invalid_subnet, other}}

  # A subnet where a verb takes text or the struct.
  @doc false
  @spec cast(term()) :: {:ok, t()} | {:error, {:invalid_subnet, term()}}
  def cast(%__MODULE__{address: %IP{} = address, prefix: prefix} = subnet) do
    with {:ok, %IP{bytes: bytes}} <- IP.cast(address),
         true <- prefix in 0..bit_size(bytes)//1 do
      {:ok, subnet}
    else
      _ -> {:error, {:invalid_subnet, subnet}}
    end
  end

  def cast(other), do: parse(other)

  @doc """
  Whether `ip` lies in `subnet`. An address of the other family never does.
  """
  @spec contains?(t(), IP.t()) :: boolean()
  def contains?(%__MODULE__{address: %IP{family: family}} = subnet, %IP{family: family} = ip) do
    host = bit_size(ip.bytes) - subnet.prefix
    number(subnet.address) >>> host == number(ip) >>> host
  end

  def contains?(%__MODULE__{}, %IP{}), do: false

  @doc """
  The address with all host bits zero.
  """
  @spec network(t()) :: IP.t()
  def network(%__MODULE__{} = subnet), do: fill(subnet, 0)

  @doc """
  The address with all host bits one. `nil` where there is none: for IPv6, and for prefixes of 31
  and 32 bits, whose last address is a host (RFC 3021).

      iex> import Linx.IP
      iex> Linx.IP.Subnet.broadcast(~IP"192.0.2.7/24")
      ~IP"192.0.2.255"
      iex> Linx.IP.Subnet.broadcast(~IP"192.0.2.6/31")
      nil
  """
  @spec broadcast(t()) :: IP.t() | nil
  def broadcast(%__MODULE__{address: %IP{family: :inet}, prefix: prefix} = subnet)
      when prefix < 31,
      do: fill(subnet, 0xFFFFFFFF)

  def broadcast(%__MODULE__{}), do: nil

  defp fill(%__MODULE__{address: ip, prefix: prefix}, ones) do
    bits = bit_size(ip.bytes)
    host = bits - prefix
    network = (number(ip) >>> host) <<< host
    %{ip | bytes: <<network ||| ones >>> prefix::size(bits)>>}
  end

  defp number(%IP{bytes: bytes}), do: :binary.decode_unsigned(bytes)

  defp prefix_length("0"), do: {:ok, 0}

  defp prefix_length(<<first, _::binary>> = digits)
       when first in ?1..?9 and byte_size(digits) <= 3 do
    case Integer.parse(digits) do
      {n, ""} -> {:ok, n}
      _ -> :error
    end
  end

  defp prefix_length(_), do: :error

  defimpl String.Chars do
    def to_string(%{address: address, prefix: prefix}), do: "#{address}/#{prefix}"
  end

  defimpl Inspect do
    def inspect(subnet, _opts), do: ~s(~IP"#{subnet}")
  end
end
