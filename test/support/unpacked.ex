defmodule Linx.Test.Unpacked do
  @moduledoc false
  # A program of a release that the distribution's may be too old for: in a folder that
  # `bin/setup --with-nft` unpacked, or wherever an environment variable says.

  @doc "A path below the folder that bin/setup unpacks into."
  @spec path(String.t()) :: Path.t()
  def path(relative) do
    cache = System.get_env("XDG_CACHE_HOME") || Path.join(System.user_home!(), ".cache")
    Path.join([cache, "linx", relative])
  end

  @doc """
  The first of the paths (nil for none) whose output with `flag` holds, by `pattern`, `min` or a
  later version.
  """
  @spec first([Path.t() | nil], String.t(), Regex.t(), [non_neg_integer()]) :: Path.t() | nil
  def first(paths, flag, pattern, min),
    do: Enum.find(paths, &(&1 != nil and File.regular?(&1) and version(&1, flag, pattern) >= min))

  defp version(path, flag, pattern) do
    with {output, 0} <- System.cmd(path, [flag], stderr_to_stdout: true),
         [_, version] <- Regex.run(pattern, output) do
      version |> String.split(".") |> Enum.map(&String.to_integer/1)
    else
      _ -> []
    end
  end
end
