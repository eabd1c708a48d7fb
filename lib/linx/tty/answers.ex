defmodule Linx.Tty.Answers do
  @moduledoc false
  # The replies of a terminal to queries in the output of a workload. They arrive as keys at any
  # time, and a workload that has ended leaves them to the shell. A terminal replies in order, so
  # the reply to a query of Linx marks where typing begins again.
  #
  # The workload must not be able to forge the reply. The query moves the cursor to positions that
  # the workload cannot predict, and asks for the position each time (CUP and DSR 6 of ECMA-48;
  # every terminal since the VT100 replies).

  @places 4
  @asking [<<27>>, <<5>>, <<0x90>>, <<0x9A>>, <<0x9B>>, <<0x9D>>]

  @doc "Whether output may hold a query: an escape sequence, a control of the second set, or ENQ."
  @spec asks?(binary()) :: boolean()
  def asks?(output), do: :binary.match(output, @asking) != :nomatch

  @doc """
  A query for a terminal of `size`, and the answer to it. A sequence that was left unfinished is
  ended first (CAN, ST), and the cursor goes back to where it was.
  """
  @spec query({non_neg_integer(), non_neg_integer(), term(), term()} | nil) ::
          {binary(), binary()}
  def query(size) do
    {rows, cols} = bounds(size)
    places = for _ <- 1..@places, do: "#{:rand.uniform(rows)};#{:rand.uniform(cols)}"
    asked = for place <- places, into: "", do: "\e[#{place}H\e[6n"
    {"\x18\e\\\e7" <> asked <> "\e8", for(place <- places, into: "", do: "\e[#{place}R")}
  end

  defp bounds({rows, cols, _, _}) when rows > 0 and cols > 0, do: {rows, cols}
  defp bounds(_), do: {24, 80}

  @doc "The characters typed after the reply; `:none` while it has not arrived."
  @spec typed(binary(), binary()) :: {:ok, binary()} | :none
  def typed(seen, answer) do
    case :binary.match(seen, answer) do
      {at, size} -> {:ok, binary_part(seen, at + size, byte_size(seen) - at - size)}
      :nomatch -> :none
    end
  end

  @doc """
  Ends the modes that a full-screen program sets and may leave behind: the alternate screen,
  reports of the mouse, of the focus and of pastes, keys of the application and of extended
  protocols, a hidden cursor, margins, colours, character sets. Text and scrollback stay.
  """
  @spec reset() :: binary()
  def reset do
    private =
      for mode <- ~w(1 5 6 9 66 1000 1002 1003 1004 1005 1006 1015 1049 2004), into: "" do
        "\e[?#{mode}l"
      end

    "\x18\e\\" <> private <> "\e7\e[r\e8\e[?7h\e[?25h\e[4l\e[>4m\e[<u\e>\e[m\x0f\e(B"
  end
end
