defmodule Linx.Process.Credit do
  @moduledoc false
  # The credit for output: the agent reads the workload's terminal or pipes only against credit,
  # so that an owner that does not take its messages stops the workload, as a full pipe would, and
  # the VM's memory stays bounded.
  #
  # The documented events have no acknowledgement, and the content of a mailbox costs its length
  # to look at. So only its length is read, which costs the same for any mailbox:
  #
  #   * A short mailbox proves that little output is unread: credit is granted in full.
  #   * A long one proves nothing; it may be long for reasons of its own. Credit is then granted
  #     by experiment: note the length, grant a little, and see whether the length is back to what
  #     it was soon after all of it was sent, and does not move for three times as long after
  #     that. An owner that reads output passes and gets twice as much each time; one that works
  #     through other messages meanwhile does not hold still; one that reads nothing does not come
  #     back. After a failure the next experiment is one frame, and waits twice as long, without a
  #     limit: the output that an owner leaves unread grows with the logarithm of time.
  #
  # An owner that passes with a full window has read everything: the length is then that of its
  # other messages, and a mailbox that is hardly longer counts as short. Should the other messages
  # be many, that is proven again after a while, because they may be taken out and output left in
  # their place.
  #
  # An owner on another node is granted in full: the distribution's own limit slows the session
  # down.

  alias Linx.Mailbox

  # The window of output on its way, and the used part after which more is granted: half, so that
  # a grant comes in time, and one write of the session and one wake-up of the agent serve two
  # full frames.
  @initial 256 * 1024
  @step 128 * 1024

  # A frame counts for at least this much (c_src_replacement/src/output.rs).
  @min_cost 4096

  # Milliseconds. Between looks; before an experiment; how long its output may take to be read,
  # beside the pause.
  @first_delay 5
  @max_delay 500
  @min_pause 5
  @patience 250

  @short_mailbox 16

  # Other messages that are believed in for good, and bytes that are granted on the word of more
  # than these.
  @few 512
  @trusted 2 * 1024 * 1024

  # A fall of the mailbox by this much within one look is an owner that has come back.
  @burst 4

  defstruct left: @initial,
            largest: @min_cost,
            stage: :fast,
            timer?: false,
            delay: @first_delay,
            pause: @min_pause,
            window: 1,
            others: nil,
            trusted: 0

  @typep stage() ::
           :fast
           | {:pausing, due :: integer()}
           | {:granted, base :: non_neg_integer()}
           | {:watching, base :: non_neg_integer(), since :: integer(), last :: non_neg_integer()}
           | {:settling, length :: non_neg_integer()}

  @type t() :: %__MODULE__{
          left: non_neg_integer(),
          largest: pos_integer(),
          stage: stage(),
          timer?: boolean(),
          delay: pos_integer(),
          pause: pos_integer(),
          window: pos_integer(),
          others: non_neg_integer() | nil,
          trusted: non_neg_integer()
        }

  @spec new() :: t()
  def new, do: %__MODULE__{}

  @spec initial() :: pos_integer()
  def initial, do: @initial

  @doc "`bytes` of output have arrived. A frame may take more than was left."
  @spec spend(t(), non_neg_integer()) :: t()
  def spend(credit, bytes) do
    cost = max(bytes, @min_cost)
    %{credit | left: max(credit.left - cost, 0), largest: max(credit.largest, cost)}
  end

  @doc "The timer that was asked for has fired."
  @spec woken(t()) :: t()
  def woken(credit), do: %{credit | timer?: false}

  @doc "Credit that is due, and not granted before the caller's timer has fired."
  @spec held(t()) :: t()
  def held(credit), do: %{credit | timer?: true}

  @doc """
  Another process owns the session: nothing is known of it. A timer that runs goes on to run.
  """
  @spec handed_over(t()) :: t()
  def handed_over(credit),
    do: %__MODULE__{left: credit.left, largest: credit.largest, timer?: credit.timer?}

  @doc """
  The credit to grant to `owner` now, in bytes, or the time after which to ask again, in
  milliseconds.
  """
  @spec grant(t(), pid() | port() | nil) ::
          {:grant, pos_integer(), t()} | {:ask_again, pos_integer(), t()} | {:nothing, t()}
  def grant(%{timer?: true} = credit, _owner), do: {:nothing, credit}

  def grant(%{stage: :fast, left: left} = credit, _owner) when left > @initial - @step,
    do: {:nothing, credit}

  def grant(%{stage: {:granted, _base}, left: left} = credit, _owner) when left > 0,
    do: {:nothing, credit}

  def grant(credit, owner) do
    case unread_at_most(owner) do
      0 -> full(%{credit | largest: @min_cost})
      length when length <= @short_mailbox -> full(credit)
      length when length * credit.largest <= @initial -> full(credit)
      length -> long(credit, length)
    end
  end

  defp long(%{others: others, stage: :fast} = credit, length)
       when others != nil and length <= others + @short_mailbox and
              (others <= @few or credit.trusted < @trusted),
       do: believed(credit, min(others, length), credit.trusted)

  # It is due to be proven again: a full window will do.
  defp long(%{others: others, stage: :fast} = credit, length)
       when others != nil and length <= others + @short_mailbox,
       do: slow(%{credit | window: @initial, others: nil}, length, now())

  defp long(credit, length), do: slow(%{credit | others: nil}, length, now())

  defp now, do: System.monotonic_time(:millisecond)

  defp believed(credit, others, trusted) do
    {:grant, granted, credit} = full(credit)
    {:grant, granted, %{credit | others: others, trusted: trusted + granted}}
  end

  defp full(credit) do
    granted = @initial - credit.left
    {:grant, granted, %__MODULE__{largest: credit.largest}}
  end

  # -- a long mailbox ----------------------------------------------------------------------------

  defp slow(%{stage: :fast} = credit, _length, now), do: pause(credit, now)

  # Earlier grants are used up first.
  defp slow(%{stage: {:pausing, due}, left: left} = credit, _length, now)
       when left > 0 or now < due,
       do: look_again(credit)

  defp slow(%{stage: {:pausing, _due}} = credit, length, _now), do: experiment(credit, length)

  defp slow(%{stage: {:granted, base}} = credit, length, now),
    do: watch(%{credit | delay: @first_delay}, base, now, length, now)

  defp slow(%{stage: {:watching, base, since, last}} = credit, length, now),
    do: watch(credit, base, since, length, now, last)

  defp slow(%{stage: {:settling, length}, window: @initial} = credit, length, _now),
    do: believed(credit, length, 0)

  defp slow(%{stage: {:settling, length}} = credit, length, _now) do
    window = min(max(credit.window, @min_cost) * 4, @initial)
    pause = max(div(credit.pause, 2), @min_pause)
    experiment(%{credit | window: window, pause: pause}, length)
  end

  defp slow(%{stage: {:settling, _other}} = credit, _length, now), do: pause(failed(credit), now)

  defp watch(credit, base, since, length, now, last \\ 0) do
    took = now - since

    cond do
      length <= base and took <= @max_delay ->
        ask_again(%{credit | stage: {:settling, length}}, max(3 * took, @first_delay))

      took > @max_delay and last - length >= @burst ->
        experiment(credit, length)

      took >= credit.pause + @patience ->
        experiment(failed(credit), length)

      true ->
        look_again(%{credit | stage: {:watching, base, since, length}})
    end
  end

  defp pause(credit, now),
    do: look_again(%{credit | stage: {:pausing, now + credit.pause}, delay: @first_delay})

  defp failed(credit), do: %{credit | window: 1, pause: credit.pause * 2}

  defp experiment(credit, length) do
    granted = credit.window
    {:grant, granted, %{credit | left: credit.left + granted, stage: {:granted, length}}}
  end

  defp look_again(credit),
    do: ask_again(%{credit | delay: min(credit.delay * 2, @max_delay)}, credit.delay)

  defp ask_again(credit, delay), do: {:ask_again, delay, %{credit | timer?: true}}

  # Nobody reads.
  defp unread_at_most(owner) when not is_pid(owner), do: 0
  defp unread_at_most(owner), do: Mailbox.length_of(owner)
end
