defmodule Linx.Netfilter.CapturesTest do
  # Captured messages of nft 1.1.7 for rules that a kernel may lack the parts for
  # (test/fixtures/netfilter/capture.exs): the same text through Linx gives the same messages, and
  # the bytes read back give the same text.
  use ExUnit.Case, async: true

  alias Linx.Netfilter.{Decoder, Encoder, Ruleset}
  alias Linx.NFT

  Code.require_file("../../fixtures/netfilter/text.exs", __DIR__)

  @captures Path.join(__DIR__, "../../fixtures/netfilter/captures.txt")
  @external_resource @captures

  # NFT_MSG_NEWCHAIN, NEWRULE, NEWSET, NEWSETELEM, NEWOBJ, NEWFLOWTABLE.
  @kinds [
    {0x0A03, :chain},
    {0x0A06, :rule},
    {0x0A09, :set},
    {0x0A0C, :set_elements},
    {0x0A12, :object},
    {0x0A16, :flowtable}
  ]

  captures =
    @captures
    |> File.read!()
    |> String.split(~r/^== /m)
    |> tl()
    |> Enum.map(fn block ->
      [line | messages] = String.split(block, "\n", trim: true)

      {line,
       for message <- messages do
         [type, payload] = String.split(message, " ")
         {String.to_integer(type, 16), Base.decode16!(payload, case: :lower)}
       end}
    end)

  for {line, messages} <- captures do
    @messages messages
    [family, hook, rule] = String.split(line, " ", parts: 3)
    @text Linx.Test.NetfilterText.text(family, hook, rule)

    test "#{line}: the same messages" do
      assert {:ok, ruleset} = NFT.parse(@text)
      ours = Encoder.to_batch(ruleset, destroy: :none)

      for {type, decode} <- @kinds do
        theirs = for {^type, payload} <- @messages, do: decoded(decode, payload)
        mine = for %{type: ^type, payload: payload} <- ours, do: decoded(decode, payload)
        assert {decode, mine} == {decode, theirs}
      end
    end

    test "#{line}: the bytes read back are the text" do
      assert {:ok, ruleset} = NFT.parse(@text)
      text = @messages |> ruleset() |> NFT.format()
      refute text =~ "unsupported"
      assert {:ok, back} = NFT.parse(text)
      assert Linx.Netfilter.diff(back, ruleset).ops == [], text
      assert NFT.parse(NFT.format(ruleset)) == {:ok, ruleset}
    end
  end

  # The name of an anonymous set and what counts elements are the sender's choice.
  defp decoded(:set, payload) do
    {family, set} = Decoder.set(payload)
    {family, %{set | size: nil, typeof: nil, userdata: []}}
  end

  defp decoded(:set_elements, payload),
    do: payload |> Decoder.set_elements() |> then(&put_elem(&1, 3, Enum.sort(elem(&1, 3))))

  defp decoded(:chain, payload) do
    {family, chain} = Decoder.chain(payload)
    {family, %{chain | policy: nil}}
  end

  defp decoded(kind, payload), do: apply(Decoder, kind, [payload])

  defp ruleset(messages) do
    pieces = Enum.group_by(messages, &elem(&1, 0), &elem(&1, 1))
    all = fn type, fun -> pieces |> Map.get(type, []) |> Enum.map(fun) end
    tables = all.(0x0A00, &Decoder.table/1)
    sets = all.(0x0A09, &Decoder.set/1)

    ruleset =
      Decoder.from_msgs(
        tables,
        all.(0x0A03, &Decoder.chain/1),
        all.(0x0A06, &Decoder.rule/1),
        sets,
        all.(0x0A0C, &Decoder.set_elements/1)
      )

    ruleset =
      for {_family, object} <- all.(0x0A12, &Decoder.object/1),
          reduce: ruleset,
          do: (ruleset -> Ruleset.add_object!(ruleset, object.table, object))

    for {_family, flowtable} <- all.(0x0A16, &Decoder.flowtable/1),
        reduce: ruleset,
        do: (ruleset -> Ruleset.add_flowtable!(ruleset, flowtable.table, flowtable))
  end
end
