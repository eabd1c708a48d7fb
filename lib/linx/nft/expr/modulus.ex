defmodule Linx.NFT.Expr.Modulus do
  @moduledoc false
  # `mod N offset N`: the part that generated numbers share. They load a number below the
  # modulus plus the offset, in the byte order of its use.

  import Linx.NFT.Parser.Tokens, only: [integer: 1, word: 2]

  alias Linx.NFT.Compiler.{Fault, Value}
  alias Linx.NFT.{Compiler, Formatter}

  @max 0xFFFFFFFF

  @type tokens :: [tuple()]

  @doc "Parses `mod N`."
  @spec modulus(tokens()) :: {term(), tokens()}
  def modulus(tokens), do: tokens |> word("mod") |> integer()

  @doc "Parses `offset N`, 0 where it is left out."
  @spec offset(tokens()) :: {term(), tokens()}
  def offset([{:identifier, "offset", _} | rest]), do: integer(rest)
  def offset(rest), do: {0, rest}

  @doc "The data of the kernel's expression: the modulus, and an offset that is not 0."
  @spec data(term(), term(), map(), Compiler.Scope.t()) :: map()
  def data(modulus, offset, meta, scope) do
    modulus = Value.number_of(modulus, scope)
    offset = Value.number_within(offset, @max, "the offset", meta, scope)

    unless is_integer(modulus) and modulus in 1..@max,
      do: Fault.fail(meta, "the modulus must be 1 to #{@max}, not #{modulus}")

    if modulus + offset > @max, do: Fault.fail(meta, "modulus and offset exceed 32 bits")
    if offset == 0, do: %{modulus: modulus}, else: %{modulus: modulus, offset: offset}
  end

  @doc "The term that loads such a number."
  @spec load(atom(), map(), :counted | :hashed, map()) :: Compiler.Term.t()
  def load(name, data, generated, meta) do
    max = data.modulus + Map.get(data, :offset, 0) - 1
    term = Compiler.Term.load({name, data}, {:integer, 32, :host}, meta)
    %{term | max: max, generated: generated}
  end

  @doc "The text of such a number: `words`, the modulus, `seed` and the offset."
  @spec term(iodata(), map(), iodata()) :: Formatter.Term.t()
  def term(words, %{modulus: modulus} = data, seed \\ "") do
    offset =
      if data[:offset] in [nil, 0], do: "", else: [" offset ", Integer.to_string(data.offset)]

    text = [words, " mod ", Integer.to_string(modulus), seed, offset]
    %Formatter.Term{text: text, type: :integer, size: 4, order: :host}
  end
end
