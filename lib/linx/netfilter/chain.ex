defmodule Linx.Netfilter.Chain do
  @moduledoc """
  A chain: the list of rules that packets meet at a hook, or that other chains jump to.

  A base chain has `:type`, `:hook` and `:priority` and is where packets enter; a regular chain
  has none of the three and is only reached by `jump` and `goto`. `new/2` checks the chain in
  itself, `validate_for_family/2` against the family of the table that takes it.

      iex> {:ok, chain} =
      ...>   Linx.Netfilter.Chain.new("input",
      ...>     type: :filter,
      ...>     hook: :input,
      ...>     priority: :filter,
      ...>     policy: :drop
      ...>   )
      iex> Linx.Netfilter.Chain.base?(chain)
      true

  `:priority` is an integer, a name that nft(8) knows (`:raw`, `:mangle`, `:dstnat`, `:filter`,
  `:security`, `:srcnat`, and `:out` in bridge tables) or `{name, offset}`; a pulled chain has the
  integer. `:device` is the one interface of an ingress or egress chain, `:devices` holds several.

  Source: nft(8), "CHAINS"; include/uapi/linux/netfilter.h, `enum nf_inet_hooks`.
  """

  alias Linx.Netfilter.{Name, Rule}

  @types [:filter, :nat, :route]
  @hooks [:prerouting, :input, :forward, :output, :postrouting, :ingress, :egress]
  @priorities [:raw, :mangle, :dstnat, :filter, :security, :srcnat, :out]

  @family_types %{
    ip: [:filter, :nat, :route],
    ip6: [:filter, :nat, :route],
    inet: [:filter, :nat, :route],
    arp: [:filter],
    bridge: [:filter],
    netdev: [:filter]
  }

  @inet_hooks [:prerouting, :input, :forward, :output, :postrouting]
  @family_hooks %{
    ip: @inet_hooks,
    ip6: @inet_hooks,
    inet: @inet_hooks ++ [:ingress],
    bridge: @inet_hooks,
    arp: [:input, :output],
    netdev: [:ingress, :egress]
  }

  @enforce_keys [:name]
  defstruct name: nil,
            table: nil,
            type: nil,
            hook: nil,
            priority: nil,
            policy: nil,
            device: nil,
            devices: [],
            flags: [],
            handle: nil,
            comment: nil,
            rules: []

  @type chain_type :: :filter | :nat | :route
  @type hook ::
          :prerouting | :input | :forward | :output | :postrouting | :ingress | :egress
  @type policy :: :accept | :drop
  @type priority :: integer() | atom() | {atom(), integer()}

  @type t :: %__MODULE__{
          comment: String.t() | nil,
          device: String.t() | nil,
          devices: [String.t()],
          flags: [atom()],
          handle: pos_integer() | nil,
          hook: hook() | nil,
          name: String.t(),
          policy: policy() | nil,
          priority: priority() | nil,
          rules: [Rule.t()],
          table: String.t() | nil,
          type: chain_type() | nil
        }

  @doc """
  Builds a chain. Options are the struct's fields; `:type`, `:hook` and `:priority` come together
  or not at all.

  Answers `{:error, {:bad_chain, reason}}`, among them `{:device_required_for_hook, hook}`,
  `{:missing, keys}`, `{:bad_hook, term}` (with a suggestion when a known hook is near),
  `{:bad_priority, term}`, `{:policy_needs_hook, policy}`.
  """
  @spec new(String.t(), keyword()) :: {:ok, t()} | {:error, {:bad_chain, term()}}
  def new(name, opts \\ []) do
    with :ok <- Name.check(name),
         {:ok, chain} <- options(opts, %__MODULE__{name: name}),
         :ok <- complete(chain) do
      {:ok, chain}
    else
      {:error, reason} -> {:error, {:bad_chain, reason}}
    end
  end

  @doc "As `new/2`, but gives the chain itself and raises `ArgumentError`."
  @spec new!(String.t(), keyword()) :: t()
  def new!(name, opts \\ []) do
    case new(name, opts) do
      {:ok, chain} -> chain
      {:error, reason} -> raise ArgumentError, "not a chain: #{inspect(reason)}"
    end
  end

  @doc "Whether packets enter here by themselves: type, hook and priority are all set."
  @spec base?(t()) :: boolean()
  def base?(%__MODULE__{type: type, hook: hook, priority: priority}),
    do: type != nil and hook != nil and priority != nil

  @doc """
  The chain with `rule` at its end; the rule's `:chain` becomes this chain's name.

  What is no rule is `{:error, {:bad_chain, {:not_a_rule, term}}}`.
  """
  @spec add_rule(t(), Rule.t()) :: {:ok, t()} | {:error, {:bad_chain, term()}}
  def add_rule(%__MODULE__{} = chain, %Rule{} = rule),
    do: {:ok, %{chain | rules: chain.rules ++ [%{rule | chain: chain.name}]}}

  def add_rule(%__MODULE__{}, other), do: {:error, {:bad_chain, {:not_a_rule, other}}}

  @doc """
  Checks type and hook against `family`: what the kernel would refuse with EOPNOTSUPP or EINVAL.
  Route chains are for ip and ip6 here; a table of inet takes one nevertheless, as the kernel does
  since 5.2.

  Answers `{:error, {:bad_chain, reason}}` with `{:type_not_valid_for_family, %{type:, family:}}`,
  `{:hook_not_valid_for_family, %{hook:, family:}}`,
  `{:hook_not_valid_for_type, %{hook:, type:}}`, `{:unknown_family, family}`.
  """
  @spec validate_for_family(t(), atom()) :: :ok | {:error, {:bad_chain, term()}}
  def validate_for_family(%__MODULE__{type: :route}, :inet),
    do: {:error, {:bad_chain, {:type_not_valid_for_family, %{type: :route, family: :inet}}}}

  def validate_for_family(%__MODULE__{} = chain, family), do: fits(chain, family)

  # The same, for what goes into a table: Linux 5.2 and nft have route chains in inet tables too,
  # and a table that holds one is pulled and written like any other.
  @doc false
  @spec fits(t(), atom()) :: :ok | {:error, {:bad_chain, term()}}
  def fits(%__MODULE__{} = chain, family) do
    case family_fault(chain, family) do
      nil -> :ok
      reason -> {:error, {:bad_chain, reason}}
    end
  end

  defp family_fault(_chain, family) when not is_map_key(@family_types, family),
    do: {:unknown_family, family}

  defp family_fault(%{type: nil}, _family), do: nil

  defp family_fault(%{type: type, hook: hook} = chain, family) do
    cond do
      type not in @family_types[family] ->
        {:type_not_valid_for_family, %{type: type, family: family}}

      hook not in @family_hooks[family] ->
        {:hook_not_valid_for_family, %{hook: hook, family: family}}

      type == :nat and hook not in [:prerouting, :input, :output, :postrouting] ->
        {:hook_not_valid_for_type, %{hook: hook, type: type}}

      type == :route and hook != :output ->
        {:hook_not_valid_for_type, %{hook: hook, type: type}}

      not priority_known?(chain.priority, family) ->
        {:priority_not_valid_for_family, %{priority: chain.priority, family: family}}

      true ->
        nil
    end
  end

  defp priority_known?({name, _offset}, family), do: priority_known?(name, family)
  defp priority_known?(n, _family) when is_integer(n), do: true
  defp priority_known?(name, :bridge), do: name in [:dstnat, :filter, :out, :srcnat]
  defp priority_known?(name, family) when family in [:arp, :netdev], do: name == :filter
  defp priority_known?(name, _family), do: name != :out

  defp options([], chain), do: {:ok, chain}

  defp options([{key, value} | rest], chain) do
    case option(key, value) do
      :ok -> options(rest, Map.replace!(chain, key, value))
      error -> error
    end
  end

  defp options(other, _chain), do: {:error, {:bad_options, other}}

  defp option(:rules, rules) when is_list(rules) do
    if Enum.all?(rules, &is_struct(&1, Rule)), do: :ok, else: {:error, {:bad_rules, rules}}
  end

  defp option(:flags, flags) when is_list(flags) do
    case flags -- [:hw_offload] do
      [] -> :ok
      unknown -> {:error, {:bad_flags, unknown}}
    end
  end

  defp option(:devices, names) when is_list(names),
    do: Enum.find_value(names, :ok, &device_fault/1)

  defp option(key, nil)
       when key in [:type, :hook, :priority, :policy, :device, :table, :handle, :comment],
       do: :ok

  defp option(:type, type), do: member(:type, type, @types)
  defp option(:hook, hook), do: member(:hook, hook, @hooks)
  defp option(:policy, policy), do: member(:policy, policy, [:accept, :drop])
  defp option(:priority, priority), do: priority(priority)
  defp option(:device, name), do: Name.check_device(name)
  defp option(:table, name), do: Name.check(name)
  defp option(:handle, handle) when is_integer(handle) and handle > 0, do: :ok
  defp option(:comment, text), do: Name.check_comment(text)
  defp option(key, value), do: {:error, {:bad_option, {key, value}}}

  defp device_fault(name) do
    case Name.check_device(name) do
      :ok -> nil
      error -> error
    end
  end

  defp member(kind, value, known) do
    if value in known,
      do: :ok,
      else: {:error, suggested({:"bad_#{kind}", value}, known)}
  end

  # "unknown hook `imput`, did you mean input?"
  defp suggested({kind, value}, known) when is_atom(value) do
    near = Enum.max_by(known, &String.jaro_distance(to_string(&1), to_string(value)))

    if String.jaro_distance(to_string(near), to_string(value)) > 0.8,
      do: {kind, value, {:did_you_mean, near}},
      else: {kind, value}
  end

  defp suggested(reason, _known), do: reason

  defp priority(n) when is_integer(n) and n in -0x80000000..0x7FFFFFFF, do: :ok
  defp priority(name) when name in @priorities, do: :ok
  defp priority({name, offset}) when name in @priorities and is_integer(offset), do: :ok
  defp priority(other), do: {:error, {:bad_priority, other}}

  defp complete(%{type: nil, hook: nil, priority: nil, policy: nil, device: nil, devices: []}),
    do: :ok

  defp complete(%{type: nil, hook: nil, priority: nil, policy: policy}) when policy != nil,
    do: {:error, {:policy_needs_hook, policy}}

  defp complete(%{type: nil, hook: nil, priority: nil}), do: {:error, :device_needs_hook}

  defp complete(%{hook: hook, device: nil, devices: []} = chain)
       when hook in [:ingress, :egress] do
    case missing(chain) do
      [] -> {:error, {:device_required_for_hook, hook}}
      keys -> {:error, {:missing, keys}}
    end
  end

  defp complete(%{hook: hook, device: device, devices: devices})
       when hook not in [:ingress, :egress, nil] and (device != nil or devices != []),
       do: {:error, {:device_not_valid_for_hook, hook}}

  defp complete(chain) do
    case missing(chain) do
      [] -> :ok
      keys -> {:error, {:missing, keys}}
    end
  end

  defp missing(chain),
    do: for(key <- [:type, :hook, :priority], Map.fetch!(chain, key) == nil, do: key)
end
