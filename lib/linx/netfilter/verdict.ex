defmodule Linx.Netfilter.Verdict do
  @moduledoc """
  What a rule decides about a packet: the kernel's `enum nft_verdicts` as a value.

  `:accept`, `:drop`, `:continue` and `:return` stand alone; `:jump` and `:goto` name a chain of
  the same table, or have the rules of a chain that belongs to this verdict alone (nft's
  `jump { ... }`); `:queue` has a userspace queue number. `reject` is no verdict but a statement,
  `Linx.Netfilter.Expr.reject/2`.

      iex> Linx.Netfilter.Verdict.jump("ssh_in")
      #Linx.Netfilter.Verdict<jump "ssh_in">

  Source: include/uapi/linux/netfilter/nf_tables.h, `enum nft_verdicts`; nft(8), "VERDICT
  STATEMENTS".
  """

  @simple [:accept, :drop, :continue, :return]

  @enforce_keys [:kind]
  defstruct [:kind, :target]

  @type kind :: :accept | :drop | :continue | :return | :jump | :goto | :queue
  @type target :: nil | String.t() | [Linx.Netfilter.Rule.t()] | non_neg_integer()
  @type t :: %__MODULE__{kind: kind(), target: target()}

  @typedoc "What `new/1` accepts."
  @type input ::
          :accept
          | :drop
          | :continue
          | :return
          | {:jump, String.t() | [Linx.Netfilter.Rule.t()]}
          | {:goto, String.t() | [Linx.Netfilter.Rule.t()]}
          | {:queue, non_neg_integer()}
          | t()

  @doc "Let the packet through; later base chains of the hook still see it."
  @spec accept() :: t()
  def accept, do: %__MODULE__{kind: :accept}

  @doc "Drop the packet, silently and at once."
  @spec drop() :: t()
  def drop, do: %__MODULE__{kind: :drop}

  @doc "Go on with the next rule."
  @spec continue() :: t()
  def continue, do: %__MODULE__{kind: :continue}

  @doc """
  Go back to the rule after the `jump` that led here; in a base chain, apply the chain's policy.
  """
  @spec return() :: t()
  def return, do: %__MODULE__{kind: :return}

  @doc """
  Evaluate `chain`, then come back. Raises `ArgumentError` for a name that no chain can have.
  """
  @spec jump(String.t()) :: t()
  def jump(chain), do: new!({:jump, chain})

  @doc """
  Evaluate `chain` instead of the rest of this one. Raises `ArgumentError` for a name that no
  chain can have.
  """
  @spec goto(String.t()) :: t()
  def goto(chain), do: new!({:goto, chain})

  @doc """
  Hand the packet to the userspace queue `num` (0..65535). The kernel holds it as a `queue`
  expression.
  """
  @spec queue(non_neg_integer()) :: t()
  def queue(num), do: new!({:queue, num})

  @doc """
  Builds a verdict from a short form; a `%Verdict{}` that is well formed comes back as it is.

  Answers `{:error, {:bad_verdict, input}}` for anything else.

      iex> Linx.Netfilter.Verdict.new({:goto, "quiet"})
      {:ok, Linx.Netfilter.Verdict.goto("quiet")}
      iex> Linx.Netfilter.Verdict.new(:jump)
      {:error, {:bad_verdict, :jump}}
  """
  @spec new(input()) :: {:ok, t()} | {:error, {:bad_verdict, term()}}
  def new(kind) when kind in @simple, do: {:ok, %__MODULE__{kind: kind}}

  def new({kind, target} = input) when kind in [:jump, :goto, :queue] do
    checked(%__MODULE__{kind: kind, target: target}, input)
  end

  def new(%__MODULE__{} = verdict), do: checked(verdict, verdict)
  def new(input), do: {:error, {:bad_verdict, input}}

  @doc "As `new/1`, but gives the verdict itself and raises `ArgumentError`."
  @spec new!(input()) :: t()
  def new!(input) do
    case new(input) do
      {:ok, verdict} -> verdict
      {:error, reason} -> raise ArgumentError, "not a verdict: #{inspect(reason)}"
    end
  end

  @doc "Whether `verdict` is a well-formed `%Verdict{}`; false for every other term."
  @spec valid?(term()) :: boolean()
  def valid?(%__MODULE__{kind: kind, target: nil}) when kind in @simple, do: true

  def valid?(%__MODULE__{kind: kind, target: chain})
      when kind in [:jump, :goto] and is_binary(chain) do
    # NFT_NAME_MAXLEN counts the terminating NUL; a NUL inside would cut the name short.
    byte_size(chain) in 1..255 and not String.contains?(chain, <<0>>)
  end

  def valid?(%__MODULE__{kind: kind, target: rules})
      when kind in [:jump, :goto] and is_list(rules),
      do: Enum.all?(rules, &is_struct(&1, Linx.Netfilter.Rule))

  def valid?(%__MODULE__{kind: :queue, target: num}) when is_integer(num), do: num in 0..0xFFFF
  def valid?(_other), do: false

  defp checked(verdict, input) do
    if valid?(verdict), do: {:ok, verdict}, else: {:error, {:bad_verdict, input}}
  end

  defimpl Inspect do
    def inspect(verdict, _opts), do: "#Linx.Netfilter.Verdict<#{text(verdict)}>"

    defp text(%{kind: kind, target: nil}), do: to_string(kind)

    defp text(%{kind: kind, target: rules}) when is_list(rules),
      do: "#{kind} { #{Enum.map_join(rules, "; ", &Kernel.inspect/1)} }"

    defp text(%{kind: kind, target: target}), do: "#{kind} #{Kernel.inspect(target)}"
  end
end
