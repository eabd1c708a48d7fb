defmodule Linx.Netfilter.Set do
  @moduledoc """
  A named set: one lookup instead of one rule per value.

  `:key_type` is the name of an nft datatype (`:ipv4_addr`, `:inet_service`, `:ifname`, `:mark`,
  ...), `{:concat, [type, ...]}` for keys of several parts, or `{type, bits}` for a number of
  another width. Elements are brought into one form when the set is built:

  | type | kept as | also taken |
  |---|---|---|
  | `:ipv4_addr` | `{10, 0, 0, 1}` | 4 bytes, `"10.0.0.1"`, `%Linx.IP{}` |
  | `:ipv6_addr` | an 8-tuple | 16 bytes, `"fe80::1"`, `%Linx.IP{}` |
  | `:ether_addr` | 6 bytes | `"02:00:00:00:00:01"`, a 6-tuple, `%Linx.MAC{}` |
  | `:ifname` | `"eth0"` | |
  | numbers | `22` | `"ssh"`, `:ssh`, the bytes |
  | `{:concat, types}` | a tuple of these | a list, the bytes |

  Bytes that are all printable ASCII are text and never stand for a value's bytes: `"1::2"` is no
  IPv4 address, and `"10.0.0.7"` no key of an address and a port. Where the bytes of any value may
  come, give the tuple or the number. The six bytes of an `:ether_addr` are taken as they are.

  With `:interval` in `:flags` an element may also be `{:prefix, address, bits}` (`"10.0.0.0/8"`,
  `%Linx.IP.Subnet{}`, `"eth*"`) or `{:range, first, last}` (`80..90`); a range of addresses that
  is a prefix is kept as one. What carries a timeout, a comment or expressions is a
  `Linx.Netfilter.Element`.

      iex> {:ok, set} =
      ...>   Linx.Netfilter.Set.new("lan",
      ...>     key_type: :ipv4_addr,
      ...>     flags: [:interval],
      ...>     elements: ["10.0.0.0/8"]
      ...>   )
      iex> set.elements
      [{:prefix, {10, 0, 0, 0}, 8}]

  Source: nft(8), "SETS"; `enum nft_set_flags`.
  """

  alias Linx.Netfilter.{Datum, Element, Expr, Name}

  @flags [:constant, :interval, :timeout, :dynamic, :auto_merge, :anonymous]

  @enforce_keys [:name, :key_type]
  defstruct name: nil,
            table: nil,
            key_type: nil,
            flags: [],
            elements: [],
            timeout: nil,
            gc_interval: nil,
            size: nil,
            handle: nil,
            comment: nil,
            policy: nil,
            exprs: [],
            typeof: nil,
            userdata: []

  @type flag :: :constant | :interval | :timeout | :dynamic | :auto_merge | :anonymous
  @type key_type ::
          :ipv4_addr
          | :ipv6_addr
          | :ether_addr
          | :inet_proto
          | :inet_service
          | :mark
          | :ifname
          | atom()
          | {atom(), pos_integer()}
          | {:concat, [key_type()]}

  @typedoc """
  `:timeout` and `:gc_interval` are milliseconds, `:size` a number of elements. `:policy` is nil
  (performance) or `:memory`. `:exprs` are stateful expressions that every element gets. `:typeof`
  holds nft's record of the expression that the key was declared by (`%{key: bytes}`), `:userdata`
  what other tools wrote.
  """
  @type t :: %__MODULE__{
          comment: String.t() | nil,
          elements: [term()],
          exprs: [Expr.t()],
          flags: [flag()],
          gc_interval: pos_integer() | nil,
          handle: pos_integer() | nil,
          key_type: key_type(),
          name: String.t(),
          policy: nil | :memory,
          size: pos_integer() | nil,
          table: String.t() | nil,
          timeout: pos_integer() | nil,
          typeof: nil | %{optional(:key | :data) => binary()},
          userdata: [{0..255, binary()}]
        }

  @doc """
  Builds a set; `:key_type` is required, the other options are the struct's fields.

  Answers `{:error, {:bad_set, reason}}`: `{:bad_key_type, term}`, `{:bad_flags, list}`,
  `{:bad_element, element, reason}`, `{:bad_option, {key, value}}`, `{:bad_name, term}`. A range
  or prefix among the elements needs `flags: [:interval]`.
  """
  @spec new(String.t(), keyword()) :: {:ok, t()} | {:error, {:bad_set, term()}}
  def new(name, opts) do
    {elements, opts} = Keyword.pop(opts, :elements, [])
    type = opts[:key_type]

    with :ok <- Name.check(name),
         :ok <- known_type(type),
         {:ok, set} <- options(opts, %__MODULE__{name: name, key_type: type}),
         {:ok, elements} <- elements(set, elements),
         :ok <- single(set.flags, elements) do
      {:ok, %{set | elements: elements}}
    else
      {:error, reason} -> {:error, {:bad_set, reason}}
    end
  end

  @doc "As `new/2`, but gives the set itself and raises `ArgumentError`."
  @spec new!(String.t(), keyword()) :: t()
  def new!(name, opts) do
    case new(name, opts) do
      {:ok, set} -> set
      {:error, reason} -> raise ArgumentError, "not a set: #{inspect(reason)}"
    end
  end

  @doc """
  The set with more elements at its end; one that does not fit is
  `{:bad_set_element, {element, reason}}`.
  """
  @spec add_elements(t(), [term()]) :: {:ok, t()} | {:error, {:bad_set_element, term()}}
  def add_elements(%__MODULE__{} = set, new_elements) do
    with {:ok, added} <- elements(set, new_elements),
         :ok <- single(set.flags, added) do
      {:ok, %{set | elements: set.elements ++ added}}
    else
      {:error, {:bad_element, element, reason}} -> {:error, {:bad_set_element, {element, reason}}}
      {:error, reason} -> {:error, {:bad_set_element, reason}}
    end
  end

  @doc """
  The set without the elements that equal one of `to_remove`, in whatever form that is written.
  """
  @spec delete_elements(t(), [term()]) :: {:ok, t()}
  def delete_elements(%__MODULE__{} = set, to_remove) do
    gone = MapSet.new(to_remove, &key(set.key_type, &1))
    {:ok, %{set | elements: Enum.reject(set.elements, &(key(set.key_type, &1) in gone))}}
  end

  defp key(type, %Element{key: key}), do: key(type, key)

  defp key(type, value) do
    case Datum.Form.normalise(type, value) do
      {:ok, value} -> value
      {:error, _} -> value
    end
  end

  defp elements(_set, elements) when not is_list(elements),
    do: {:error, {:bad_elements, elements}}

  defp elements(set, elements) do
    if Enum.any?(elements, &is_struct(&1, Element)) do
      each(elements, &element(set, &1), [])
    else
      case Datum.Form.normalise_all(set.key_type, elements) do
        {:ok, elements} -> {:ok, elements}
        {:error, {element, reason}} -> {:error, {:bad_element, element, reason}}
      end
    end
  end

  defp element(_set, %Element{data: data}) when data != nil, do: {:error, :data_in_a_set}

  defp element(set, %Element{} = element) do
    with :ok <- Element.check(element),
         {:ok, key} <- Datum.Form.normalise(set.key_type, element.key),
         do: {:ok, Element.short(%{element | key: key})}
  end

  defp element(set, value), do: Datum.Form.normalise(set.key_type, value)

  defp each([], _fun, acc), do: {:ok, Enum.reverse(acc)}

  defp each([element | rest], fun, acc) do
    case fun.(element) do
      {:ok, value} -> each(rest, fun, [value | acc])
      {:error, reason} -> {:error, {:bad_element, element, reason}}
    end
  end

  @doc false
  # Ranges and prefixes are for sets of intervals; a rule's own set becomes one by having them.
  @spec single([flag()], [term()]) :: :ok | {:error, {:bad_element, term(), :needs_interval_flag}}
  def single(flags, elements) do
    if :interval in flags or :anonymous in flags,
      do: :ok,
      else: Enum.find_value(elements, :ok, &single/1)
  end

  defp single(element) do
    if Datum.Form.spans?(bare(element)),
      do: {:error, {:bad_element, element, :needs_interval_flag}}
  end

  defp bare(%Element{key: key}), do: key
  defp bare(key), do: key

  defp known_type(type),
    do: if(Datum.type?(type), do: :ok, else: {:error, {:bad_key_type, type}})

  defp options([], set), do: {:ok, set}

  defp options([{key, value} | rest], set) do
    case option(key, value) do
      :ok -> options(rest, Map.replace!(set, key, value))
      error -> error
    end
  end

  @doc false
  # Shared with Linx.Netfilter.Map, whose fields are the same and one more.
  @spec option(atom(), term()) :: :ok | {:error, term()}
  def option(:key_type, _checked), do: :ok

  def option(:flags, flags) when is_list(flags) do
    case flags -- @flags do
      [] -> :ok
      unknown -> {:error, {:bad_flags, unknown}}
    end
  end

  def option(:exprs, exprs) when is_list(exprs) do
    if Enum.all?(exprs, &is_struct(&1, Expr)), do: :ok, else: {:error, {:bad_exprs, exprs}}
  end

  def option(:userdata, list) when is_list(list), do: :ok

  def option(key, nil)
      when key in [:timeout, :gc_interval, :size, :handle, :comment, :policy, :table, :typeof],
      do: :ok

  def option(key, n)
      when key in [:timeout, :gc_interval, :size, :handle] and is_integer(n) and n > 0,
      do: :ok

  def option(:comment, text), do: Name.check_comment(text)
  def option(:table, name), do: Name.check(name)
  def option(:policy, :memory), do: :ok
  def option(:typeof, %{} = typeof) when not is_struct(typeof), do: :ok
  def option(key, value), do: {:error, {:bad_option, {key, value}}}
end
