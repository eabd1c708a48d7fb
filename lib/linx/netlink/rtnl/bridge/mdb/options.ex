defmodule Linx.Netlink.Rtnl.Bridge.Mdb.Options do
  @moduledoc false
  # The options of a multicast database's verbs onto a request. Values only: `index` turns a
  # link's name into `{:ok, index}`.

  alias Linx.{IP, MAC}
  alias Linx.Netlink.Rtnl.Bridge.Mdb.{Entry, Sources}
  alias Linx.Netlink.Rtnl.Bridge.Mdb.Request.Attributes
  alias Linx.Netlink.Rtnl.Protocol

  @ipv4 0x0800
  @ipv6 0x86DD

  @type index :: (term() -> {:ok, pos_integer()} | {:error, term()})

  @spec names(term()) :: [String.t()]
  def names(opts) when is_list(opts),
    do: for({key, ref} <- opts, key in [:port, :via], is_binary(ref), do: ref)

  def names(_opts), do: []

  @doc "A group as its EtherType and the 16 bytes that hold it."
  @spec group(term()) :: {:ok, 0..0xFFFF, <<_::128>>} | {:error, term()}
  def group(%MAC{} = mac), do: {:ok, 0, MAC.encode(mac) <> <<0::80>>}
  def group(%IP{family: :inet, bytes: bytes}), do: {:ok, @ipv4, bytes <> <<0::96>>}
  def group(%IP{family: :inet6, bytes: bytes}), do: {:ok, @ipv6, bytes}

  def group(text) when is_binary(text) do
    with {:error, _} <- IP.parse(text), {:error, _} <- MAC.parse(text) do
      {:error, {:invalid_group, text}}
    else
      {:ok, address} -> group(address)
    end
  end

  def group(other), do: {:error, {:invalid_group, other}}

  @doc "Options onto an entry and its attributes."
  @spec set(term(), struct(), struct(), index()) ::
          {:ok, struct(), struct()} | {:error, term()}
  def set(opts, entry, attributes, index) when is_list(opts) do
    Enum.reduce_while(opts, {:ok, entry, attributes}, fn option, {:ok, entry, attributes} ->
      case option(option, entry, attributes, index) do
        {:ok, %Entry{} = entry} -> {:cont, {:ok, entry, attributes}}
        {:ok, %Attributes{} = attributes} -> {:cont, {:ok, entry, attributes}}
        :error -> {:halt, {:error, {:bad_option, option}}}
        error -> {:halt, error}
      end
    end)
  end

  def set(opts, _entry, _attributes, _index), do: {:error, {:bad_option, opts}}

  defp option({:port, ref}, entry, _attributes, index) do
    with {:ok, n} <- index.(ref), do: {:ok, %{entry | ifindex: n}}
  end

  defp option({:vid, vid}, entry, _attributes, _index) when is_integer(vid) and vid in 1..4094,
    do: {:ok, %{entry | vid: vid}}

  defp option({:state, state}, entry, _attributes, _index) when state in [:temp, :permanent],
    do: {:ok, %{entry | state: state}}

  defp option({:filter_mode, mode}, _entry, attributes, _index) when mode in [:include, :exclude],
    do: {:ok, %{attributes | filter_mode: mode}}

  defp option({key, ip}, _entry, attributes, _index) when key in [:source, :dst] do
    with {:ok, ip} <- IP.cast(ip), do: {:ok, Map.replace!(attributes, key, ip)}
  end

  defp option({:source_list, [_ | _] = sources}, _entry, attributes, _index) do
    sources
    |> Enum.reduce_while([], fn source, done ->
      case IP.cast(source) do
        {:ok, ip} -> {:cont, [%Sources.Source{address: ip} | done]}
        error -> {:halt, error}
      end
    end)
    |> case do
      done when is_list(done) ->
        {:ok, %{attributes | source_list: %Sources{entries: Enum.reverse(done)}}}

      error ->
        error
    end
  end

  defp option({:protocol, protocol}, _entry, attributes, _index) do
    with {:ok, protocol} <- Protocol.cast(protocol), do: {:ok, %{attributes | protocol: protocol}}
  end

  defp option({:dst_port, n}, _entry, attributes, _index) when is_integer(n) and n in 1..0xFFFF,
    do: {:ok, %{attributes | dst_port: n}}

  defp option({key, n}, _entry, attributes, _index)
       when key in [:vni, :src_vni] and is_integer(n) and n in 0..0xFFFFFF,
       do: {:ok, Map.replace!(attributes, key, n)}

  defp option({:via, ref}, _entry, attributes, index) do
    with {:ok, n} <- index.(ref), do: {:ok, %{attributes | via: n}}
  end

  defp option(_option, _entry, _attributes, _index), do: :error
end
