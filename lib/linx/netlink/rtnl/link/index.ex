defmodule Linx.Netlink.Rtnl.Link.Index do
  @moduledoc false
  # The numbers that the kernel knows links by: if_nametoindex(3), but in the namespace of a
  # socket and for many at once.

  import Linx.Netlink.Rtnl.Constants

  alias Linx.Netlink.{Error, Request, Socket}
  alias Linx.Netlink.Rtnl.{Call, Link}
  alias Linx.Netlink.Rtnl.Link.Options

  @typedoc "A link by its name or number, or `{codec, ref}` for the link as that codec reads it."
  @type wanted :: Link.ref() | {module(), Link.ref()}

  @typedoc """
  Names, looked up already, to numbers; and `{codec, ref}` to that codec's struct, which is `:any`
  while nothing has been looked up.
  """
  @type index :: (wanted() -> {:ok, pos_integer() | struct() | :any} | {:error, term()})

  # IFLA_EXT_MASK with RTEXT_FILTER_SKIP_STATS, linux/if_link.h and linux/rtnetlink.h: a kilobyte
  # less in each answer.
  @skip_stats 8

  # A number is taken at its word: the verb that uses it will hear from the kernel.
  @spec of(Socket.t(), Link.ref(), String.t()) :: {:ok, pos_integer()} | {:error, term()}
  def of(socket, ref, what \\ "interface")
  def of(_socket, index, _what) when is_integer(index) and index > 0, do: {:ok, index}

  def of(socket, ref, what) do
    with {:ok, index} <- all(socket, [ref], what), do: index.(ref)
  end

  # All of `refs` in one exchange, as a function.
  @spec all(Socket.t(), [wanted()], String.t()) :: {:ok, index()} | {:error, Error.t()}
  def all(socket, refs, what \\ "interface")
  def all(_socket, [], _what), do: {:ok, &numbered/1}

  def all(socket, refs, what) do
    known =
      for ref <- Enum.uniq(refs), not is_integer(ref), do: {ref, identify(ref)}

    requests =
      for {_, {:ok, request}} <- known,
          do: {rtm_getlink(), 0, Link.encode(%{request | ext_mask: @skip_stats})}

    with {:ok, answers} <- Request.lookup(Call.checked!(socket), requests) do
      {found, []} =
        Enum.map_reduce(known, answers, fn
          {ref, {:ok, _}}, [answer | answers] -> {{ref, found(ref, answer, what)}, answers}
          {ref, error}, answers -> {{ref, error}, answers}
        end)

      map = Map.new(found)

      {:ok, &Map.get_lazy(map, &1, fn -> numbered(&1) end)}
    end
  end

  defp identify({_codec, ref}), do: Options.identify(ref)
  defp identify(ref), do: Options.identify(ref)

  defp numbered(index) when is_integer(index) and index > 0, do: {:ok, index}
  defp numbered(ref), do: {:error, {:invalid_name, ref}}

  defp found({codec, _ref}, {:ok, body}, _what), do: {:ok, codec.decode(body)}
  defp found(_ref, {:ok, body}, _what), do: {:ok, Link.decode(body).index}
  defp found({_codec, ref}, error, what), do: found(ref, error, what)
  defp found(ref, {:error, error}, what), do: {:error, Call.no_such(what, ref).(error)}

  # A change that names links by the way. All else in it is checked before the kernel is asked for
  # them.
  @spec named(Socket.t(), [wanted()], (index() -> Call.op()), String.t()) :: Call.op()
  def named(socket, refs, build, what \\ "interface") do
    if Enum.all?(refs, &is_integer/1) do
      build.(&numbered/1)
    else
      with {:ok, _} <- build.(&name/1),
           {:ok, index} <- all(socket, refs, what),
           do: build.(index)
    end
  end

  defp name({_codec, ref}), do: with({:ok, _} <- Options.identify(ref), do: {:ok, :any})
  defp name(ref), do: with({:ok, _} <- Options.identify(ref), do: {:ok, 1})
end
