defmodule Linx.Mount.Mountinfo do
  @moduledoc false
  # /proc/<pid>/mountinfo to entries. A line of another shape, or with a tag that is not known, is
  # left out: a newer kernel must not take the whole table away.

  alias Linx.Mount.Entry

  @doc "The entries of a mountinfo text, in its order."
  @spec parse(binary()) :: [Entry.t()]
  def parse(text) do
    for line <- String.split(text, "\n", trim: true), entry = parse_line(line), do: entry
  end

  defp parse_line(line) do
    with [id, parent, device, root, mount_point, options | rest] <- String.split(line, " "),
         {tags, ["-", fstype, source, super_option | more]} <-
           Enum.split_while(rest, &(&1 != "-")),
         {:ok, id} <- natural(id),
         {parent, ""} <- Integer.parse(parent),
         true <- device?(device),
         {:ok, propagation} <- propagation(tags, []) do
      %Entry{
        mount_id: id,
        parent_id: parent,
        device: device,
        root: unescape(root),
        mount_point: unescape(mount_point),
        mount_options: options,
        propagation: propagation,
        fstype: fstype,
        source: unescape(source),
        # A file system prints its own options; not each of them escapes its spaces.
        super_options: Enum.join([super_option | more], " ")
      }
    else
      _ -> nil
    end
  end

  defp device?(device) do
    with [major, minor] <- String.split(device, ":"),
         {:ok, _} <- natural(major),
         {:ok, _} <- natural(minor) do
      true
    else
      _ -> false
    end
  end

  defp propagation([], entries), do: {:ok, Enum.reverse(entries)}
  defp propagation(["unbindable" | tags], entries), do: propagation(tags, [:unbindable | entries])

  defp propagation([tag | tags], entries) do
    with {:ok, name, group} <- tag(tag),
         {:ok, group} <- natural(group) do
      propagation(tags, [{name, group} | entries])
    end
  end

  defp tag("shared:" <> group), do: {:ok, :shared, group}
  defp tag("master:" <> group), do: {:ok, :master, group}
  defp tag("propagate_from:" <> group), do: {:ok, :propagate_from, group}
  defp tag(_), do: :error

  # Digits and nothing else: Integer.parse/1 takes signs.
  defp natural(<<first, _::binary>> = text) when first in ?0..?9 do
    case Integer.parse(text) do
      {number, ""} -> {:ok, number}
      _ -> :error
    end
  end

  defp natural(_), do: :error

  # The kernel's mangle(): a backslash and three octal digits for each of " \t\n\\#".
  defp unescape(text) do
    case :binary.match(text, "\\") do
      :nomatch -> text
      _ -> unescape(text, <<>>)
    end
  end

  defp unescape(<<?\\, a, b, c, rest::binary>>, done)
       when a in ?0..?3 and b in ?0..?7 and c in ?0..?7 do
    unescape(rest, <<done::binary, (a - ?0) * 64 + (b - ?0) * 8 + (c - ?0)>>)
  end

  defp unescape(<<byte, rest::binary>>, done), do: unescape(rest, <<done::binary, byte>>)
  defp unescape(<<>>, done), do: done
end
