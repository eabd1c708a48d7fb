defmodule Linx.NFT.Formatter.Text do
  @moduledoc false
  # Strings and names of a ruleset as text that nft(8) and `Linx.NFT.parse/1` read alike. What has
  # no such text is thrown as {:unwritable, path, fault}: `at/2` says where it stands,
  # `Linx.NFT.Formatter.format/1` raises it. A throw, since what has not the documented shape is
  # rescued on the way.

  alias Linx.NFT.Expr.Kinds

  # Words that nft's scanner does not give as a name, in the union of nft 1.0.6 and 1.1.7: tried
  # as the name of a table, chain, set, map, object and flowtable, and where each is used. Those
  # that begin a load expression are in Linx.NFT.Expr.Kinds.
  @reserved MapSet.new(~w(
    accept add all and auto-merge bridge bytes chain comment constant continue counter create
    define delete describe destroy device devices dnat drop dup dynamic ecn element elements
    eq exists expires export flags flow flowtable flush fwd gc-interval ge get goto gt handle
    hook import include index inet insert interval jump last le limit list ll log lshift lt
    map masquerade meter missing monitor name ne netdev nh not notrack offload or packets
    policy position priority queue quota random redefine redirect reject rename replace reset
    return rshift rule ruleset secmark set size snat synproxy table timeout tproxy type typeof
    undefine unexpected unicast update vmap vni xor xt
  ))

  @doc """
  Runs `fun`; what it cannot write stands at `place`, which is made for that alone where it is a
  function.
  """
  @spec at(String.t() | (-> String.t()), (-> result)) :: result when result: var
  def at(place, fun) do
    fun.()
  catch
    {:unwritable, path, fault} -> throw({:unwritable, [place(place) | path], fault})
  end

  defp place(place) when is_function(place, 0), do: place.()
  defp place(place), do: place

  @doc "A name in a message: as it is where it is short and plain."
  @spec shown(term()) :: String.t()
  def shown(name) do
    if is_binary(name) and name =~ ~r/\A[A-Za-z0-9_.-]{1,60}\z/,
      do: name,
      else: inspect(name, printable_limit: 60)
  end

  @doc "A string in quotes."
  @spec quoted(binary()) :: iodata()
  def quoted(text) do
    case fault(text, text, 0) do
      nil -> ["\"", text, "\""]
      fault -> unwritable(fault)
    end
  end

  @doc "A comment: 128 bytes at most."
  @spec comment(binary()) :: iodata()
  def comment(text) do
    at("the comment", fn ->
      if byte_size(text) > 128,
        do: unwritable("has #{byte_size(text)} bytes, 128 is the most"),
        else: quoted(text)
    end)
  end

  @doc "The prefix of a log line, in which `$` would begin a variable."
  @spec prefix(binary()) :: iodata()
  def prefix(text) do
    at("the log prefix", fn ->
      case {byte_size(text), :binary.match(text, "$")} do
        {size, _} when size not in 1..127 -> unwritable("has #{size} bytes, not 1 to 127")
        {_, {at, 1}} -> unwritable(byte("a dollar sign", ?$, at, "which begins a variable"))
        {_, :nomatch} -> quoted(text)
      end
    end)
  end

  @doc "A name of a table, chain, set, object or flowtable."
  @spec name(binary()) :: binary()
  def name(text) do
    cond do
      text =~ ~r/\A[A-Za-z_][A-Za-z0-9_\/.-]{0,254}\z/ and not reserved?(text) -> text
      reserved?(text) -> unwritable("the name #{text} is a word of nft's grammar")
      true -> at("the name #{inspect(text)}", fn -> unwritable(name_fault(text)) end)
    end
  end

  defp reserved?(text), do: text in @reserved or Kinds.word?(text)

  defp name_fault(""), do: "is empty"

  defp name_fault(text) when byte_size(text) > 255,
    do: "has #{byte_size(text)} bytes, not 1 to 255"

  defp name_fault(text) do
    case Regex.run(~r/\A[A-Za-z_][A-Za-z0-9_\/.-]*/, text, return: :index) do
      [{0, size}] -> byte("a byte", :binary.at(text, size), size, no_word())
      nil -> byte("a byte", :binary.first(text), 0, no_word())
    end
  end

  defp no_word, do: "which no name of nft has there"

  @doc """
  A word from a value, such as a protocol: letters, digits, and dashes and underscores inside.
  """
  @spec word(term()) :: binary()
  def word(value) do
    text = to_string(value)

    if text =~ ~r/\A[A-Za-z0-9][A-Za-z0-9_-]*\z/,
      do: text,
      else: unwritable("#{inspect(text)} is no word")
  end

  # IFNAMSIZ is 16 with the NUL; nft counts the asterisk of a pattern, and the backslash before
  # one of a name, as well.
  @max_interface 15

  @doc "An interface's name in quotes; `wildcard?` for the beginning of names."
  @spec interface(binary(), boolean()) :: iodata()
  def interface(text, wildcard?) do
    written = if wildcard?, do: text <> "*", else: String.replace_suffix(text, "*", "\\*")

    at(fn -> "the interface name #{inspect(text)}" end, fn ->
      cond do
        text == "" or byte_size(written) > @max_interface ->
          unwritable("is #{byte_size(written)} bytes in nft's text, not 1 to #{@max_interface}")

        wildcard? and String.ends_with?(text, "\\") ->
          unwritable("ends in a backslash (byte 0x5C)")

        not wildcard? and String.ends_with?(text, "*") and String.contains?(text, "\\") ->
          unwritable(
            "holds a backslash (byte 0x5C), which nft drops from a name that ends in an asterisk"
          )

        true ->
          quoted(written)
      end
    end)
  end

  @doc """
  An interface that a push looks up: one that is there, by a name that is no number and no
  pattern.
  """
  @spec index(binary()) :: iodata()
  def index(text) do
    at(fn -> "the interface name #{inspect(text)}" end, fn ->
      cond do
        byte_size(text) not in 1..15 -> unwritable("has #{byte_size(text)} bytes, not 1 to 15")
        text =~ ~r/\A\d+\z/ -> unwritable("is a number")
        String.contains?(text, ["/", " ", "*"]) -> unwritable("is no name of an interface")
        true -> quoted(text)
      end
    end)
  end

  @doc "Throws what cannot be written."
  @spec unwritable(String.t()) :: no_return()
  def unwritable(fault), do: throw({:unwritable, [], fault})

  defp fault(<<>>, _text, _at), do: nil

  defp fault(<<?", _::binary>>, _text, at),
    do: byte("a quote", ?", at, "which a string of nft cannot hold")

  defp fault(<<c, _::binary>>, _text, at) when c < 32 or c == 127,
    do: byte("a control character", c, at, "which a terminal would take for a command")

  defp fault(<<?\\, rest::binary>>, text, at) do
    case rest do
      <<c, _::binary>> when c not in [?\\, ?", ?n, ?t, ?r, ?0] -> fault(rest, text, at + 1)
      _ -> byte("a backslash", ?\\, at, "which parse/1 takes for an escape and nft does not")
    end
  end

  defp fault(<<c::utf8, rest::binary>>, text, at),
    do: fault(rest, text, at + byte_size(<<c::utf8>>))

  defp fault(<<c, _::binary>>, _text, at), do: byte("a byte", c, at, "which is not UTF-8")

  defp byte(what, byte, at, why),
    do: "holds #{what} (byte 0x#{Base.encode16(<<byte>>)} at offset #{at}), #{why}"
end
