defmodule Linx.Netlink.Rtnl.Rule do
  @moduledoc """
  Policy rules: which routing table the kernel asks for a packet.

      :ok = Rule.add(socket, from: "10.1.0.0/24", table: 100)
      :ok = Rule.add(socket, fwmark: 1, table: 100, priority: 200)
      {:ok, rules} = Rule.list(socket)

  Rules are asked in order of `priority`, smallest first, until a table has a route. Without a
  priority the kernel puts a new rule before the last one added that way. IPv4 and IPv6 have lists
  of their own; the family follows from `:from` and `:to`, and is IPv4 where neither says.

  ## Selectors

    * `:from`, `:to` - a subnet, as text, `Linx.IP.Subnet` or a single address;
    * `:fwmark`, with `:fwmask` - the firewall's mark;
    * `:iif`, `:oif` - the interface's name it came in by, or that its socket is bound to;
    * `:dscp` (0..63, Linux 6.12), `:tos` (its older form, with the two low bits), `:ipproto` (a
      number), `:sport` and `:dport` (a number or a range), `:uid` (a number or a range);
    * `:family` - `:inet` or `:inet6`, `:invert` - the packets that do not match.

  What happens to those that match: `:table` (1..2^32-1), which is required unless `:action` is
  given: `:blackhole`, `:unreachable`, `:prohibit`, `:nop`, or `{:goto, priority}`. Further:
  `:priority`, `:protocol` (whose rule it is, as in `Linx.Netlink.Rtnl.Route`), `:l3mdev`;
  `:suppress_prefixlength` and `:suppress_ifgroup`, which pass over a route whose prefix is that
  short or whose link is in that group.

  ## Fields

  Those of `struct fib_rule_hdr` and the attributes by the same names as above; `src` and `dst`
  are `Linx.IP`, their lengths `src_len` and `dst_len`. The header's `table` has eight bits, so
  `table_ext` holds the whole number; `target_table/1` gives whichever counts.

  Source: ip-rule(8), include/uapi/linux/fib_rules.h.

  ## Errors

  What the kernel refuses is `{:error, %Linx.Netlink.Error{}}`. Match on its `errno`: `:eperm`
  without CAP_NET_ADMIN over the namespace, `:eexist` for a rule that is there, `:enoent` for the
  deletion of one that is not. What could not be put into a request (a text that is no address, an
  unknown option) is refused before anything is sent.
  """

  use Linx.Netlink.Codec

  import Bitwise
  import Linx.Netlink.Rtnl.Constants

  alias Linx.IP
  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Batch, Call, Range}
  alias Linx.Netlink.Rtnl.Rule.{Match, Options}

  codec native: 5 do
    header do
      field(:family, :u8)
      field(:dst_len, :u8)
      field(:src_len, :u8)
      field(:tos, :u8)
      field(:table, :u8)
      field(:res1, :u8)
      field(:res2, :u8)
      field(:action, :u8)
      field(:flags, :u32)
    end

    attr(1, :dst, IP)
    attr(2, :src, IP)
    attr(6, :priority, :u32)
    attr(10, :fwmark, :u32)
    attr(15, :table_ext, :u32)
    attr(3, :iif, :string)
    attr(4, :goto, :u32)
    attr(14, :suppress_prefixlength, :u32)
    attr(16, :fwmask, :u32)
    attr(17, :oif, :string)
    attr(19, :l3mdev, :u8)
    attr(20, :uid, Range.U32)
    attr(21, :protocol, :u8)
    attr(22, :ipproto, :u8)
    attr(23, :sport, Range.U16)
    attr(24, :dport, Range.U16)
    attr(13, :suppress_ifgroup, :u32)
    attr(25, :dscp, :u8)
    rest(:extra)
  end

  @families %{inet: 2, inet6: 10}
  # FIB_RULE_INVERT
  @invert 2
  @dscp_since {6, 12, 0}
  @enoent 2
  @eopnotsupp 95

  @doc """
  Every rule of the namespace, IPv4 and IPv6, each in the order in which they are asked.
  `family: :inet` or `:inet6` lists one. The kernel has rules of the same sort for multicast
  routing; those are not listed.
  """
  @spec list(Socket.t(), keyword()) :: {:ok, [t()]} | {:error, Error.t() | term()}
  def list(socket, filter \\ [])

  def list(socket, []) do
    with {:ok, rules} <- Call.dump(socket, rtm_getrule(), %__MODULE__{}),
         do: {:ok, Enum.filter(rules, &(&1.family in [2, 10]))}
  end

  def list(socket, family: family) when is_map_key(@families, family),
    do: Call.dump(socket, rtm_getrule(), %__MODULE__{family: @families[family]})

  def list(_socket, [option | _]), do: {:error, {:bad_option, option}}
  def list(_socket, filter), do: {:error, {:bad_option, filter}}

  @doc """
  Adds a rule; see "Selectors". The same rule again is `errno: :eexist`.

  Without `:table` and `:action` it is `{:error, {:missing, :table}}`; `:from` and `:to` of
  different families are `{:error, {:unlike_families, from, to}}`; an option that is unknown or
  makes no sense is `{:error, {:bad_option, _}}`.

  A rule as `list/2` gives it is taken too, for instance for another namespace.
  """
  @spec add(Socket.t(), keyword() | t()) :: :ok | {:error, term()}
  def add(socket, rule), do: Call.change(socket, __op__(:add, [rule], nil))

  @doc """
  Deletes the first rule that has all that the options say, in the order of `list/2`. One that is
  not there is `errno: :enoent`.

  Any selector or action alone will do. Options that every rule has, such as `from: "0.0.0.0/0"`
  or `:family` alone, and no options at all are `{:error, {:missing, :selector}}`. A `:fwmark`
  without `:fwmask` is one with all bits of the mask.

  What the kernel does not compare (`:invert`, the target of a goto, a mark or TOS of 0) is looked
  for in the list. A batch cannot look: there these are not compared.
  """
  @spec delete(Socket.t(), keyword()) :: :ok | {:error, term()}
  def delete(socket, %__MODULE__{} = rule) do
    with {:ok, rules} <- list(socket, family(rule)),
         {:ok, _rest} <- Match.take(rules, rule),
         do: Call.change(socket, __op__(:delete, [rule], nil))
  end

  def delete(socket, opts) do
    with {:ok, pattern} <- Options.pattern(opts) do
      case Match.compared(opts, pattern) do
        :some -> delete_listed(socket, opts, pattern)
        _ -> Call.change(socket, __op__(:delete, [opts], nil))
      end
    end
  end

  defp delete_listed(socket, opts, pattern) do
    with {:ok, rules} <- list(socket, family(pattern)) do
      case Match.find(rules, opts, pattern) do
        {:ok, rule} -> delete(socket, rule)
        :error -> {:error, Error.from_errno(@enoent, refusal(:enoent))}
      end
    end
  end

  defp family(%{family: 2}), do: [family: :inet]
  defp family(%{family: 10}), do: [family: :inet6]
  defp family(_rule), do: []

  @doc "Adds many, each a list of options or a rule as listed. See `Linx.Netlink.Rtnl.batch/2`."
  @spec add_many(Socket.t(), [keyword() | t()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def add_many(socket, rules),
    do: Batch.run(socket, rules, &__op__(:add, [&1], nil))

  @doc """
  Deletes many, each a list of options or a rule as listed. See `Linx.Netlink.Rtnl.batch/2`.

  One that the kernel cannot be asked for directly (see `delete/2`) is looked for, and all are
  deleted one by one then.
  """
  @spec delete_many(Socket.t(), [keyword() | t()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def delete_many(socket, rules) do
    cond do
      Enum.any?(rules, &looked_for?/1) -> {:ok, Enum.map(rules, &delete(socket, &1))}
      Enum.any?(rules, &is_struct/1) -> delete_structs(socket, rules)
      true -> Batch.run(socket, rules, &__op__(:delete, [&1], nil))
    end
  end

  defp looked_for?(%__MODULE__{}), do: false

  defp looked_for?(opts) do
    case Options.pattern(opts) do
      {:ok, pattern} -> Match.compared(opts, pattern) == :some
      _error -> false
    end
  end

  # The list is read once, and each deletion taken off it: only rules of one priority can be taken
  # for each other.
  defp delete_structs(socket, rules) do
    with {:ok, listed} <- list(socket) do
      places = Enum.group_by(listed, &{&1.family, &1.priority})

      {ops, _places} =
        Enum.map_reduce(rules, places, fn
          %__MODULE__{} = rule, places ->
            place = {rule.family, rule.priority}

            case Match.take(Map.get(places, place, []), rule) do
              {:ok, rest} -> {__op__(:delete, [rule], nil), Map.put(places, place, rest)}
              error -> {error, places}
            end

          opts, places ->
            {__op__(:delete, [opts], nil), places}
        end)

      Batch.run(socket, ops, & &1)
    end
  end

  @doc """
  The rule as a value, as `add/2` would send it.
  """
  @spec new(keyword()) :: {:ok, t()} | {:error, term()}
  def new(opts), do: Options.rule(opts)

  @doc """
  The table that a rule leads to, from the attribute if it is there and otherwise from the header.
  """
  @spec target_table(t()) :: non_neg_integer()
  def target_table(%__MODULE__{table_ext: nil, table: table}), do: table
  def target_table(%__MODULE__{table_ext: table}), do: table

  @doc false
  def __names__(_verb, _args), do: []

  @doc false
  def __op__(verb, [%__MODULE__{} = rule], _index) when verb in [:add, :delete] do
    # The other flags say how a rule is doing; FIB_RULE_PERMANENT among them would make one that
    # cannot be deleted.
    op(verb, %{rule | flags: rule.flags &&& @invert, extra: Match.extra(rule)})
  end

  def __op__(:add, [opts], _index) do
    with {:ok, rule} <- Options.rule(opts), do: op(:add, rule)
  end

  def __op__(:delete, [opts], _index) do
    with {:ok, pattern} <- Options.pattern(opts) do
      if Match.compared(opts, %{pattern | flags: 0}) == :none,
        do: {:error, {:missing, :selector}},
        else: op(:delete, pattern)
    end
  end

  def __op__(verb, args, _index),
    do: raise(ArgumentError, "no change for a batch: #{inspect({__MODULE__, verb, args})}")

  # A kernel that does not know FRA_DSCP passes over it, and the rule would be for every packet.
  defp op(:add, %{dscp: dscp} = rule) when dscp != nil do
    if :os.version() >= @dscp_since,
      do: request(rtm_newrule(), Call.create(), rule),
      else: {:error, Error.from_errno(@eopnotsupp, "rules by DSCP need Linux 6.12")}
  end

  defp op(:add, rule), do: request(rtm_newrule(), Call.create(), rule)
  defp op(:delete, rule), do: request(rtm_delrule(), 0, rule)

  defp request(type, flags, rule), do: Call.op(type, flags, rule, Call.words(&refusal/1))

  # Words for an errno without text.
  defp refusal(:eexist), do: "the rule exists already"
  defp refusal(:enoent), do: "no such rule"
  defp refusal(_errno), do: nil
end
