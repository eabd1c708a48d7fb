defmodule Linx.Test.NewerNft do
  @moduledoc false
  # An nft(8) that says what the distribution's may be too old to parse: the one that LINX_NFT names, the one that
  # `bin/setup --with-nft` unpacked, or the machine's own, the first of them that is new enough.

  @least [1, 1, 1]

  @doc "Its path, or why there is none."
  @spec find() :: {:ok, String.t()} | {:error, String.t()}
  def find do
    case Enum.find(candidates(), &new_enough?/1) do
      nil ->
        {:error,
         "no nft of #{Enum.join(@least, ".")} or newer; run bin/setup --with-nft, or set LINX_NFT"}

      path ->
        {:ok, path}
    end
  end

  @spec path!() :: String.t()
  def path! do
    {:ok, path} = find()
    path
  end

  defp candidates do
    cache = System.get_env("XDG_CACHE_HOME") || Path.join(System.user_home!(), ".cache")

    Enum.reject(
      [
        System.get_env("LINX_NFT"),
        Path.join(cache, "linx/nft/usr/sbin/nft"),
        System.find_executable("nft")
      ],
      &is_nil/1
    )
  end

  defp new_enough?(path) do
    File.regular?(path) and version(path) >= @least
  end

  defp version(path) do
    with {output, 0} <- System.cmd(path, ["--version"], stderr_to_stdout: true),
         [_, version] <- Regex.run(~r/v(\d+(?:\.\d+)+)/, output) do
      version |> String.split(".") |> Enum.map(&String.to_integer/1)
    else
      _ -> []
    end
  end
end
