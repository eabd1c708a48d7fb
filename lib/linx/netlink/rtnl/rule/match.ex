defmodule Linx.Netlink.Rtnl.Rule.Match do
  @moduledoc false
  # The rule that the kernel would delete for a request, worked out on a list of rules:
  # rule_find() in net/core/fib_rules.c. It takes the first one that has each field which the
  # request sets, and knows no request for "not set": neither a length of 0 nor a mark of 0 is
  # compared, nor the flags, nor where a goto leads.

  import Bitwise

  alias Linx.Netlink.Error
  alias Linx.Netlink.Rtnl.Rule

  @invert 2
  @goto 2
  @all_ones 0xFFFFFFFF
  # Attributes without a field that only repeat the default: padding, and the masks of ports and
  # of a DSCP.
  @repeated [{28, <<0xFFFF::16>>}, {29, <<0xFFFF::16>>}, {30, <<0x3F>>}]
  @padding 18

  @compared [:action, :table, :iif, :oif, :fwmark, :fwmask, :suppress_ifgroup] ++
              [:suppress_prefixlength, :l3mdev, :uid, :ipproto, :protocol, :sport, :dport] ++
              [:src, :dst, :tos, :dscp, :priority]

  # The selectors and the action of a rule in the form that the kernel gives them: `nil` for each
  # that it has not.
  defp form(rule) do
    mark = set(rule.fwmark)

    %{
      family: rule.family,
      priority: rule.priority,
      action: set(rule.action),
      table: set(Rule.target_table(rule)),
      goto: if(rule.action == @goto, do: rule.goto),
      iif: rule.iif,
      oif: rule.oif,
      fwmark: mark,
      # The mask of a mark that is given without one has all bits.
      fwmask: set(rule.fwmask || if(mark, do: @all_ones)),
      suppress_ifgroup: suppressed(rule.suppress_ifgroup),
      suppress_prefixlength: suppressed(rule.suppress_prefixlength),
      l3mdev: set(rule.l3mdev),
      uid: rule.uid,
      ipproto: set(rule.ipproto),
      protocol: set(rule.protocol),
      sport: rule.sport,
      dport: rule.dport,
      src: if(rule.src_len > 0, do: {rule.src, rule.src_len}),
      dst: if(rule.dst_len > 0, do: {rule.dst, rule.dst_len}),
      tos: set(rule.tos),
      dscp: rule.dscp,
      invert: set(rule.flags &&& @invert),
      extra: extra(rule)
    }
  end

  # The kernel sends no priority of 0.
  defp listed(rule), do: %{form(rule) | priority: rule.priority || 0}

  defp set(n) when n in [nil, 0], do: nil
  defp set(value), do: value

  # -1 is none.
  defp suppressed(@all_ones), do: nil
  defp suppressed(n), do: n

  @doc "The attributes of a listed rule that a request may repeat."
  @spec extra(Rule.t()) :: [{0..65535, binary()}]
  def extra(rule),
    do:
      for({type, _} = attr <- rule.extra || [], type != @padding, attr not in @repeated, do: attr)

  @doc "Whether the kernel compares every option, some, or none that a request could be told by."
  @spec compared([{atom(), term()}], Rule.t()) :: :all | :some | :none
  def compared(opts, pattern) do
    form = form(pattern)
    told? = Enum.any?(@compared, &(form[&1] != nil))

    cond do
      Enum.any?(opts, &uncompared?(&1, form)) -> if told? or form.invert, do: :some, else: :none
      told? -> :all
      true -> :none
    end
  end

  defp uncompared?({:invert, _}, _form), do: true
  defp uncompared?({:action, {:goto, _}}, _form), do: true
  defp uncompared?({:from, _}, form), do: form.src == nil
  defp uncompared?({:to, _}, form), do: form.dst == nil
  defp uncompared?({:family, _}, _form), do: false
  defp uncompared?({key, _}, form), do: form[key] == nil

  @doc """
  The first of `rules` that has all that the options say, `pattern` being the rule they make.
  """
  @spec find([Rule.t()], [{atom(), term()}], Rule.t()) :: {:ok, Rule.t()} | :error
  def find(rules, opts, pattern) do
    wanted = form(pattern)
    keys = Enum.uniq(Enum.flat_map(opts, &keys/1))

    found =
      Enum.find(rules, fn rule ->
        form = listed(rule)
        Enum.all?(keys, &(Map.fetch!(form, &1) == Map.fetch!(wanted, &1)))
      end)

    if found, do: {:ok, found}, else: :error
  end

  defp keys({:from, _}), do: [:src]
  defp keys({:to, _}), do: [:dst]
  defp keys({:fwmark, _}), do: [:fwmark, :fwmask]
  defp keys({:action, {:goto, _}}), do: [:action, :goto]
  defp keys({:family, _}), do: []
  defp keys({key, _}), do: [key]

  @doc """
  Whether the kernel, asked to delete `rule`, would: `{:ok, rest}` with the rules that are left.
  Otherwise the rule is not there (ENOENT), or another one comes first that has all that this one
  has (EBUSY).
  """
  @spec take([Rule.t()], Rule.t()) :: {:ok, [Rule.t()]} | {:error, Error.t()}
  def take(rules, rule) do
    wanted = form(rule)

    case Enum.split_while(rules, &(not picked?(listed(&1), wanted))) do
      {_, []} ->
        {:error, Error.from_errno(2, "no such rule")}

      {before, [first | rest]} ->
        cond do
          same?(listed(first), wanted) -> {:ok, before ++ rest}
          Enum.any?(rest, &same?(listed(&1), wanted)) -> {:error, shadowed(first)}
          true -> {:error, Error.from_errno(2, "no such rule")}
        end
    end
  end

  defp picked?(form, wanted) do
    form.family == wanted.family and
      Enum.all?(@compared, &(wanted[&1] == nil or wanted[&1] == form[&1]))
  end

  # A request without a priority is for one of any.
  defp same?(form, %{priority: nil} = wanted), do: %{form | priority: nil} == wanted
  defp same?(form, wanted), do: form == wanted

  defp shadowed(first) do
    Error.from_errno(16, "the kernel would delete another rule first, #{inspect(first)}")
  end
end
