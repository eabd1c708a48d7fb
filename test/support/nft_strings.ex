defmodule Linx.Test.NftStrings do
  @moduledoc false
  # Random strings in every place of a ruleset that takes one.

  alias Linx.Netfilter.{Element, Expr, Object, Ruleset, Set}
  alias Linx.NFT

  @places ~w(table_comment chain_comment rule_comment set_comment element_comment object_comment
             log_prefix table_name chain_name set_name object_name jump helper_type context
             object_reference iifname iifname_prefix element_name)a

  @doc "The places; those that this kernel loads without more than nf_tables itself."
  def places, do: @places
  def loadable, do: @places -- [:helper_type, :context, :object_reference]

  @doc """
  A string of up to 20 bytes: words, bytes that mean something to nft or to Linx, any bytes.
  """
  @spec random() :: binary()
  def random do
    parts = for _ <- 1..:rand.uniform(5), do: part(:rand.uniform(9))
    text = IO.iodata_to_binary(parts)
    binary_part(text, 0, min(byte_size(text), :rand.uniform(20)))
  end

  defp part(1), do: Enum.random(["\"", "\\", "\n", "\r", <<0>>, "\t", "\e", "\d"])
  defp part(2), do: Enum.random([~S(\n), ~S(\"), ~S(\\), ~S(\x), ~S(\*), "*", "$a", "$", "\#{a}"])
  defp part(3), do: <<:rand.uniform(256) - 1>>
  defp part(4), do: <<Enum.random(0x80..0x2FFF)::utf8>>
  defp part(5), do: Enum.random([";", "{", "}", "#", "; drop #", " ", "/", "-", ".", ":", "@"])
  defp part(6), do: Enum.random(~w(accept drop counter input eth0 last table a1))
  defp part(_word), do: for(_ <- 1..:rand.uniform(4), do: Enum.random(?a..?z))

  @doc """
  A ruleset of one table `family name` with `text` at `place`; nil where the structs refuse it.
  What it refers to is there.
  """
  @spec ruleset(atom(), binary(), String.t()) :: Ruleset.t() | nil
  def ruleset(place, text, table \\ "t")

  def ruleset(:table_name, text, _table) do
    # In one namespace with others it must not meet one of them.
    with {:ok, ruleset} <- Ruleset.add_table(Ruleset.new(), :ip, text),
         do: ruleset,
         else: (_ -> nil)
  end

  def ruleset(place, text, table) do
    base = Ruleset.add_table!(Ruleset.new(), :ip, table)
    put(place, text, base, table)
  rescue
    ArgumentError -> nil
  end

  defp put(:table_comment, text, _base, table),
    do: Ruleset.add_table!(Ruleset.new(), :ip, table, comment: text)

  defp put(:chain_comment, text, base, table),
    do: Ruleset.add_chain!(base, table, "c", comment: text)

  defp put(:rule_comment, text, base, table),
    do: base |> rule(table, [:accept], comment: text)

  defp put(:set_comment, text, base, table),
    do: Ruleset.add_set!(base, table, Set.new!("s", key_type: :mark, comment: text))

  defp put(:element_comment, text, base, table) do
    element = %Element{key: 5, comment: text}
    Ruleset.add_set!(base, table, Set.new!("s", key_type: :mark, elements: [element]))
  end

  defp put(:object_comment, text, base, table) do
    data = %{packets: 0, bytes: 0}
    Ruleset.add_object!(base, table, Object.new!(:counter, "n", data, comment: text))
  end

  defp put(:log_prefix, text, base, table), do: rule(base, table, [Expr.log(prefix: text)], [])
  defp put(:chain_name, text, base, table), do: Ruleset.add_chain!(base, table, text)

  defp put(:set_name, text, base, table) do
    base
    |> Ruleset.add_set!(table, Set.new!(text, key_type: :mark))
    |> rule(table, [Expr.meta(:mark), Expr.lookup(text), :accept], [])
  end

  defp put(:object_name, text, base, table),
    do: Ruleset.add_object!(base, table, Object.new!(:counter, text, %{packets: 0, bytes: 0}))

  defp put(:jump, text, base, table) do
    base |> Ruleset.add_chain!(table, text) |> rule(table, [{:jump, text}], [])
  end

  defp put(:helper_type, text, base, table) do
    data = %{type: text, protocol: :tcp, l3proto: :ip}
    Ruleset.add_object!(base, table, Object.new!(:ct_helper, "h", data))
  end

  defp put(:context, text, base, table),
    do: Ruleset.add_object!(base, table, Object.new!(:secmark, "m", %{context: text}))

  defp put(:object_reference, text, base, table),
    do: rule(base, table, [Expr.objref(:counter, text)], [])

  defp put(:iifname, text, base, table) when byte_size(text) <= 16 do
    name = <<text::binary, 0::size(8 * (16 - byte_size(text)))>>
    rule(base, table, [Expr.meta(:iifname), Expr.cmp(:eq, name), :accept], [])
  end

  # With a NUL it is a whole name that is compared in fewer bytes, as iptables-nft does: the same
  # match in another form.
  defp put(:iifname_prefix, text, base, table) when byte_size(text) in 1..15 do
    unless String.contains?(text, <<0>>),
      do: rule(base, table, [Expr.meta(:iifname), Expr.cmp(:eq, text), :accept], [])
  end

  defp put(:element_name, text, base, table) when text != "",
    do: Ruleset.add_set!(base, table, Set.new!("s", key_type: :ifname, elements: [text]))

  defp put(_place, _text, _base, _table), do: nil

  defp rule(ruleset, table, exprs, opts) do
    ruleset
    |> Ruleset.add_chain!(table, "c_rules")
    |> Ruleset.add_rule!(table, "c_rules", exprs, opts)
  end

  @doc """
  What format/1 makes of it: {:written, text} that parses back to the same value, or :refused.
  """
  @spec outcome(Ruleset.t()) :: {:written, String.t()} | :refused
  def outcome(ruleset) do
    text = NFT.format(ruleset)

    for opts <- [[], [strings: :nft]], NFT.parse(text, opts) != {:ok, ruleset} do
      raise "#{inspect(text)} reads back as #{inspect(NFT.parse(text, opts))}"
    end

    {:written, text}
  rescue
    error in ArgumentError ->
      true = error.message =~ ~r/\Atable ip /
      :refused
  end

  @doc "`count` strings, each in a place that takes it: how many were written and refused."
  @spec check(pos_integer()) :: %{written: non_neg_integer(), refused: non_neg_integer()}
  def check(count) do
    Enum.reduce(1..count, %{written: 0, refused: 0}, fn n, tally ->
      place = Enum.at(@places, rem(n, length(@places)))

      case outcome(some(place)) do
        {:written, _text} -> Map.update!(tally, :written, &(&1 + 1))
        :refused -> Map.update!(tally, :refused, &(&1 + 1))
      end
    end)
  end

  @doc "A ruleset with a random string at `place`."
  @spec some(atom(), String.t()) :: Ruleset.t()
  def some(place, table \\ "t"), do: ruleset(place, random(), table) || some(place, table)
end
