defmodule Linx.Test.NewerIproute2 do
  @moduledoc false
  # The programs of an iproute2 that knows the protocol of an address (IFA_PROTO), which Debian 12's does not: of the
  # folder that LINX_IPROUTE2 names, of the one that `bin/setup --with-nft` unpacked, or the machine's own, whichever
  # comes first and is new enough.

  # The first release whose `ip address` takes and shows `proto`.
  @min_version [6, 4]

  @doc "The path of one of its programs (`ip`, `tc`, `bridge`, `ss`), or the reason why there is none."
  @spec find(String.t()) :: {:ok, String.t()} | {:error, String.t()}
  def find(program) do
    case Enum.find(candidates(program), &new_enough?/1) do
      nil ->
        {:error,
         "no #{program} of iproute2 #{Enum.join(@min_version, ".")} or newer; " <>
           "run bin/setup --with-nft, or set LINX_IPROUTE2"}

      path ->
        {:ok, path}
    end
  end

  @spec path!(String.t()) :: String.t()
  def path!(program) do
    case find(program) do
      {:ok, path} -> path
      {:error, reason} -> raise reason
    end
  end

  defp candidates(program) do
    cache = System.get_env("XDG_CACHE_HOME") || Path.join(System.user_home!(), ".cache")
    folders = [System.get_env("LINX_IPROUTE2"), Path.join(cache, "linx/iproute2")]

    unpacked =
      for folder <- folders,
          folder,
          sub <- ["bin", "sbin"],
          do: Path.join([folder, "usr", sub, program])

    case System.find_executable(program) do
      nil -> unpacked
      path -> unpacked ++ [path]
    end
  end

  defp new_enough?(path), do: File.regular?(path) and version(path) >= @min_version

  defp version(path) do
    with {output, 0} <- System.cmd(path, ["-V"], stderr_to_stdout: true),
         [_, version] <- Regex.run(~r/(?:iproute2-|bridge utility, )(\d+(?:\.\d+)+)/, output) do
      version |> String.split(".") |> Enum.map(&String.to_integer/1)
    else
      _ -> []
    end
  end
end
