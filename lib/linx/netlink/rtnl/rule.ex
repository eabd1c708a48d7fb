defmodule Linx.Netlink.Rtnl.Rule do
  @moduledoc """
  Policy rules: which routing table the kernel asks for a packet.

      :ok = Rule.add(socket, from: "10.1.0.0/24", table: 100)
      :ok = Rule.add(socket, fwmark: 1, table: 100, priority: 200)
      {:ok, rules} = Rule.list(socket)

  Rules are asked in order of `priority`, smallest first, until a table has a route. Without a priority the kernel puts
  a new rule before the last one added that way. IPv4 and IPv6 have lists of their own; the family follows from `:from`
  and `:to`, and is IPv4 where neither says.

  ## Selectors

    * `:from`, `:to` - a subnet, as text, `Linx.IP.Subnet` or a single address;
    * `:fwmark`, with `:fwmask` - the firewall's mark;
    * `:iif`, `:oif` - the interface's name it came in by, or that its socket is bound to;
    * `:tos`, `:ipproto` (a number), `:sport` and `:dport` (a number or a range), `:uid` (a number or a range);
    * `:family` - `:inet` or `:inet6`, `:invert` - the packets that do not match.

  What happens to those that match: `:table` (1..2^32-1), which is required unless `:action` is given: `:blackhole`,
  `:unreachable`, `:prohibit`, `:nop`, or `{:goto, priority}`. Further: `:priority`, `:protocol` (whose rule it is, as in
  `Linx.Netlink.Rtnl.Route`), `:suppress_prefixlength`, `:l3mdev`.

  ## Fields

  Those of `struct fib_rule_hdr` and the attributes by the same names as above; `src` and `dst` are `Linx.IP`, their
  lengths `src_len` and `dst_len`. The header's `table` has eight bits, so `table_ext` holds the whole number;
  `target_table/1` gives whichever counts.

  Source: ip-rule(8), include/uapi/linux/fib_rules.h.

  ## Errors

  What the kernel refuses is `{:error, %Linx.Netlink.Error{}}`. Match on its `errno`: `:eperm` without CAP_NET_ADMIN over
  the namespace, `:eexist` for a rule that is there, `:enoent` for the deletion of one that is not. What could not be put into a request (a text that is no address, an unknown option) is refused
  before anything is sent.
  """

  use Linx.Netlink.Codec

  import Bitwise

  alias Linx.IP
  alias Linx.IP.Subnet
  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Batch, Call, Range, Route}

  codec do
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
    rest(:extra)
  end

  @rtm_newrule 32
  @rtm_delrule 33
  @rtm_getrule 34

  @families %{inet: 2, inet6: 10}
  @to_table 1
  @goto 2
  @actions %{nop: 3, blackhole: 6, unreachable: 7, prohibit: 8}
  @invert 2

  @doc """
  Every rule of the namespace, IPv4 and IPv6, each in the order in which they are asked. `family: :inet` or `:inet6`
  lists one. The kernel has rules of the same sort for multicast routing; those are not listed.
  """
  @spec list(Socket.t(), keyword()) :: {:ok, [t()]} | {:error, Error.t() | term()}
  def list(socket, filter \\ [])

  def list(socket, []) do
    with {:ok, rules} <- Call.dump(socket, @rtm_getrule, %__MODULE__{}),
         do: {:ok, Enum.filter(rules, &(&1.family in [2, 10]))}
  end

  def list(socket, family: family) when is_map_key(@families, family),
    do: Call.dump(socket, @rtm_getrule, %__MODULE__{family: @families[family]})

  def list(_socket, [option | _]), do: {:error, {:bad_option, option}}
  def list(_socket, filter), do: {:error, {:bad_option, filter}}

  @doc """
  Adds a rule; see "Selectors". The same rule again is `errno: :eexist`.

  Without `:table` and `:action` it is `{:error, {:missing, :table}}`; `:from` and `:to` of different families are
  `{:error, {:unlike_families, from, to}}`; an option that is unknown or makes no sense is `{:error, {:bad_option, _}}`.
  """
  @spec add(Socket.t(), keyword()) :: :ok | {:error, term()}
  def add(socket, opts), do: Call.change(socket, __op__(:add, [opts], nil))

  @doc """
  Deletes the first rule that has all that the options say. One that is not there is `errno: :enoent`.
  """
  @spec delete(Socket.t(), keyword()) :: :ok | {:error, term()}
  def delete(socket, opts), do: Call.change(socket, __op__(:delete, [opts], nil))

  @doc "Adds many, each a list of options. See `Linx.Netlink.Rtnl.batch/2`."
  @spec add_many(Socket.t(), [keyword()]) :: {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def add_many(socket, rules),
    do: Batch.run(socket, rules, &__op__(:add, [&1], nil))

  @doc "Deletes many, each a list of options. See `Linx.Netlink.Rtnl.batch/2`."
  @spec delete_many(Socket.t(), [keyword()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def delete_many(socket, rules),
    do: Batch.run(socket, rules, &__op__(:delete, [&1], nil))

  @doc """
  The table that a rule leads to, from the attribute if it is there and otherwise from the header.
  """
  @spec target_table(t()) :: non_neg_integer()
  def target_table(%__MODULE__{table_ext: nil, table: table}), do: table
  def target_table(%__MODULE__{table_ext: table}), do: table

  @doc false
  def __names__(_verb, _args), do: []

  @doc false
  def __op__(verb, [opts], _index) when verb in [:add, :delete] do
    with {:ok, rule} <- build(opts) do
      if verb == :add,
        do: Call.op(@rtm_newrule, Call.create(), rule, Call.words(&refusal/1)),
        else: Call.op(@rtm_delrule, 0, rule, Call.words(&refusal/1))
    end
  end

  def __op__(verb, args, _index),
    do: raise(ArgumentError, "no change for a batch: #{inspect({__MODULE__, verb, args})}")

  # What an errno says where the kernel says no more.
  defp refusal(:eexist), do: "the rule exists already"
  defp refusal(:enoent), do: "no such rule"
  defp refusal(_errno), do: nil

  # -- options -----------------------------------------------------------------------------------------------------------

  defp build(opts) when is_list(opts) do
    with {:ok, rule} <- options(opts, %__MODULE__{action: 0}),
         {:ok, rule} <- action(rule),
         do: family(rule)
  end

  defp build(opts), do: {:error, {:bad_option, opts}}

  defp options(opts, rule) do
    Enum.reduce_while(opts, {:ok, rule}, fn option, {:ok, rule} ->
      case option(option, rule) do
        {:ok, rule} -> {:cont, {:ok, rule}}
        :error -> {:halt, {:error, {:bad_option, option}}}
        error -> {:halt, error}
      end
    end)
  end

  defp option({:from, subnet}, rule) do
    with {:ok, ip, length} <- subnet(subnet), do: {:ok, %{rule | src: ip, src_len: length}}
  end

  defp option({:to, subnet}, rule) do
    with {:ok, ip, length} <- subnet(subnet), do: {:ok, %{rule | dst: ip, dst_len: length}}
  end

  # A header's byte for the tables that it holds, and the attribute for all.
  defp option({:table, n}, rule) when n in 1..255,
    do: {:ok, %{rule | table: n, table_ext: n}}

  defp option({:table, n}, rule) when n in 256..0xFFFFFFFF,
    do: {:ok, %{rule | table: 0, table_ext: n}}

  defp option({key, n}, rule)
       when key in [:fwmark, :fwmask, :priority, :suppress_prefixlength] and n in 0..0xFFFFFFFF,
       do: {:ok, Map.replace!(rule, key, n)}

  defp option({key, name}, rule) when key in [:iif, :oif] and byte_size(name) in 1..15 do
    if String.contains?(name, "\0"), do: :error, else: {:ok, Map.replace!(rule, key, name)}
  end

  defp option({key, n}, rule) when key in [:tos, :ipproto] and n in 0..255,
    do: {:ok, Map.replace!(rule, key, n)}

  defp option({:l3mdev, true}, rule), do: {:ok, %{rule | l3mdev: 1}}

  defp option({key, range}, rule) when key in [:sport, :dport],
    do: range(rule, key, range, 0xFFFF)

  defp option({:uid, range}, rule), do: range(rule, :uid, range, 0xFFFFFFFF)

  defp option({:family, family}, rule) when is_map_key(@families, family),
    do: {:ok, %{rule | family: @families[family]}}

  defp option({:invert, true}, rule), do: {:ok, %{rule | flags: rule.flags ||| @invert}}
  defp option({:invert, false}, rule), do: {:ok, rule}

  defp option({:protocol, protocol}, rule) do
    with {:ok, n} <- Route.protocol(protocol), do: {:ok, %{rule | protocol: n}}
  end

  defp option({:action, {:goto, n}}, rule) when n in 0..0xFFFFFFFF,
    do: {:ok, %{rule | action: @goto, goto: n}}

  defp option({:action, name}, rule) when is_map_key(@actions, name),
    do: {:ok, %{rule | action: @actions[name]}}

  defp option(_option, _rule), do: :error

  defp range(rule, key, n, max) when n in 0..max//1, do: {:ok, Map.replace!(rule, key, n..n)}

  defp range(rule, key, first..last//1 = range, max)
       when first in 0..max//1 and last in 0..max//1 and first <= last,
       do: {:ok, Map.replace!(rule, key, range)}

  defp range(_rule, _key, _range, _max), do: :error

  defp subnet(%Subnet{address: ip, prefix: prefix}), do: {:ok, ip, prefix}
  defp subnet(%IP{bytes: bytes} = ip), do: {:ok, ip, bit_size(bytes)}

  defp subnet(text) do
    with {:error, _} <- Subnet.parse(text), {:ok, ip} <- IP.parse(text) do
      subnet(ip)
    else
      {:ok, %Subnet{} = subnet} -> subnet(subnet)
      {:error, _} -> {:error, {:invalid_subnet, text}}
    end
  end

  defp action(%{action: 0, table_ext: nil, l3mdev: nil}), do: {:error, {:missing, :table}}
  defp action(%{action: 0} = rule), do: {:ok, %{rule | action: @to_table}}
  defp action(rule), do: {:ok, rule}

  defp family(%{src: %IP{family: a} = src, dst: %IP{family: b} = dst}) when a != b,
    do: {:error, {:unlike_families, src, dst}}

  defp family(rule) do
    case {rule.src || rule.dst, rule.family} do
      {nil, 0} ->
        {:ok, %{rule | family: 2}}

      {nil, _} ->
        {:ok, rule}

      {ip, 0} ->
        {:ok, %{rule | family: @families[ip.family]}}

      {ip, family} ->
        if @families[ip.family] == family, do: {:ok, rule}, else: {:error, {:bad_option, :family}}
    end
  end
end
