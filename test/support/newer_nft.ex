defmodule Linx.Test.NewerNft do
  @moduledoc false
  # An nft(8) that says what the distribution's may be too old to parse: the one that LINX_NFT
  # names, the one that `bin/setup --with-nft` unpacked, or the machine's own, the first of them
  # that is new enough.

  alias Linx.Test.Unpacked

  @min_version [1, 1, 1]

  @doc "Its path, or why there is none."
  @spec find() :: {:ok, String.t()} | {:error, String.t()}
  def find do
    paths = [
      System.get_env("LINX_NFT"),
      Unpacked.path("nft/usr/sbin/nft"),
      System.find_executable("nft")
    ]

    case Unpacked.first(paths, "--version", ~r/v(\d+(?:\.\d+)+)/, @min_version) do
      nil ->
        {:error,
         "no nft of #{Enum.join(@min_version, ".")} or newer; run bin/setup --with-nft, or " <>
           "set LINX_NFT"}

      path ->
        {:ok, path}
    end
  end

  @spec path!() :: String.t()
  def path! do
    {:ok, path} = find()
    path
  end
end
