defmodule Linx.Process.Info do
  @moduledoc """
  A snapshot of a session, as `Linx.Process.info/1` gives it.

    * `:mode` is `:spawn` or `:enter`.
    * `:stage` is where the session is: `:starting` (no process yet), `:spawned` (it exists and is
      on its way to the checkpoint), `:ready` (parked), `:running` (executing the workload), and
      the four ends `:exited`, `:signaled`, `:aborted` and `:errored`.
    * `:host_pid` is the workload's pid as the host sees it; nil while `:starting`.
    * `:child_pid` is the pid as the workload itself sees it, 1 in a fresh pid namespace; nil
      before `:ready`.
    * `:reaper_pid` is, with `init: true`, the pid of the reaper that stands before the workload,
      as the host sees it; otherwise nil.
    * `:left` lists the pids that the session could not end, where its end is the error of stage
      `:kill`; otherwise [].
    * `:pty?` says whether the workload has a terminal of its own.
    * `:result` is the end: what `Linx.Process.wait/1` gives under `:ok`, or `{:error, error}`;
      nil before.
    * `:rusage` is what the process used, with the descendants that it waited for; nil before the
      end and after an error. Times are microseconds, `:max_rss` is bytes, the rest are counts
      (getrusage(2)).

  It inspects as one short line:

      #Linx.Process.Info<spawn :running host=12345 pty>
  """

  alias Linx.Process.Error

  @type mode() :: :spawn | :enter
  @type stage() ::
          :starting | :spawned | :ready | :running | :exited | :signaled | :aborted | :errored
  @type result() ::
          nil
          | {:exited, non_neg_integer()}
          | {:signaled, pos_integer()}
          | :aborted
          | {:error, Error.t()}
  @type rusage() :: %{
          user_time: non_neg_integer(),
          system_time: non_neg_integer(),
          max_rss: non_neg_integer(),
          minor_faults: non_neg_integer(),
          major_faults: non_neg_integer(),
          blocks_in: non_neg_integer(),
          blocks_out: non_neg_integer(),
          voluntary_switches: non_neg_integer(),
          involuntary_switches: non_neg_integer()
        }
  @type t() :: %__MODULE__{
          mode: mode(),
          stage: stage(),
          host_pid: pos_integer() | nil,
          child_pid: pos_integer() | nil,
          reaper_pid: pos_integer() | nil,
          left: [pos_integer()],
          pty?: boolean(),
          result: result(),
          rusage: rusage() | nil
        }

  defstruct [
    :mode,
    :stage,
    :host_pid,
    :child_pid,
    :reaper_pid,
    :result,
    :rusage,
    left: [],
    pty?: false
  ]

  defimpl Inspect do
    def inspect(info, _opts) do
      words = [
        to_string(info.mode),
        stage(info),
        info.host_pid && "host=#{info.host_pid}",
        info.pty? && "pty"
      ]

      "#Linx.Process.Info<" <> (words |> Enum.filter(& &1) |> Enum.join(" ")) <> ">"
    end

    defp stage(%{stage: stage, result: {stage, number}}), do: ":#{stage}(#{number})"

    defp stage(%{stage: :errored, result: {:error, error}}),
      do: ":errored(#{error.stage}/#{error.code})"

    defp stage(%{stage: stage}), do: inspect(stage)
  end
end
