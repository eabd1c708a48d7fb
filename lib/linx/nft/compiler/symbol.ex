defmodule Linx.NFT.Compiler.Symbol do
  @moduledoc false
  # Words and strings as values of a datatype: symbols of the tables, names of the host, times and
  # dates.

  alias Linx.Netfilter.Datatype
  alias Linx.NFT.Compiler.{HostNames, Term}
  alias Linx.NFT.Parser.Tokens

  @doc false
  @spec parse(atom(), String.t(), Term.t()) :: {:ok, non_neg_integer()} | :error
  def parse(:classid, "none", _like), do: {:ok, 0}
  def parse(:classid, "root", _like), do: {:ok, 0xFFFFFFFF}

  def parse(:classid, text, _like), do: classid(text)

  def parse(:time, text, %Term{len: 64} = like), do: parse(:date, text, like)

  def parse(:time, text, _like), do: Tokens.time(text)
  def parse(:date, text, _like), do: date(text)
  def parse(:hour, text, _like), do: hour(text)
  def parse(:day, text, _like), do: day(text)

  def parse(type, text, _like) do
    with :error <- Datatype.value(type, text),
         :error <- HostNames.value(type, text),
         :error <- numeric(type, text) do
      :error
    end
  end

  # Numbers in quotes, as nft's type parsers take them.
  defp numeric(type, _text) when type in [:ipv4_addr, :ipv6_addr, :ether_addr, :verdict],
    do: :error

  defp numeric(_type, text) when byte_size(text) > 512, do: :error

  defp numeric(_type, text) do
    case Integer.parse(text) do
      {n, ""} when n >= 0 -> {:ok, n}
      _ -> :error
    end
  end

  # major:minor in hex
  defp classid(text) do
    with [major, minor] <- String.split(text, ":"),
         {major, ""} <- Integer.parse(major, 16),
         {minor, ""} <- Integer.parse(minor, 16),
         true <- major in 0..0xFFFF and minor in 0..0xFFFF do
      {:ok, Bitwise.bor(Bitwise.bsl(major, 16), minor)}
    else
      _ -> :error
    end
  end

  # "YYYY-MM-DD[ HH:MM[:SS]]" in UTC, as nanoseconds since 1970. The rule has no time zone:
  # neither has this.
  defp date(text) do
    {day, time} =
      case String.split(text, [" ", "T"], parts: 2) do
        [day] -> {day, "00:00:00"}
        [day, time] -> {day, if(String.length(time) == 5, do: time <> ":00", else: time)}
      end

    with {:ok, date} <- Date.from_iso8601(day), {:ok, time} <- Time.from_iso8601(time) do
      seconds = date |> DateTime.new!(time) |> DateTime.to_unix()
      if seconds >= 0, do: {:ok, seconds * 1_000_000_000}, else: :error
    else
      _ -> :error
    end
  end

  # "HH:MM[:SS]" in UTC, as seconds of the day. Like strptime(3), one digit is enough and second
  # 60 exists: "23:59:60" is the end of the day.
  defp hour(text) do
    with [_, hour, minute | rest] <- Regex.run(~r/\A(\d\d?):(\d\d?)(?::(\d\d?))?\z/, text),
         [hour, minute, second] <- Enum.map([hour, minute | seconds(rest)], &String.to_integer/1),
         true <- hour < 24 and minute < 60 and second <= 60 do
      {:ok, hour * 3600 + minute * 60 + second}
    else
      _ -> :error
    end
  end

  defp seconds([]), do: ["0"]
  defp seconds(rest), do: rest

  @days ~w(sunday monday tuesday wednesday thursday friday saturday)

  # In full or by its first three letters or more, in any case.
  defp day(text) do
    word = String.downcase(text)

    case Integer.parse(text) do
      {n, ""} when n in 0..6 ->
        {:ok, n}

      _ ->
        long? = String.length(word) >= 3

        case Enum.find_index(@days, &(long? and String.starts_with?(&1, word))) do
          nil -> :error
          n -> {:ok, n}
        end
    end
  end
end
