defmodule Linx.Cgroup.Events do
  @moduledoc """
  What has happened to a cgroup, counted by the kernel since it was made.

    * `:populated`: whether a process lives in it or below it; `:frozen`: whether it is frozen;
    * `:memory_low`, `:memory_high`, `:memory_max`: how often its use went below the protection,
      above the throttling mark, and was about to go over the limit; `:memory_oom`: how often an
      allocation failed at the limit; `:memory_oom_kill`: how many of its processes the OOM killer
      killed; `:memory_oom_group_kill`: how often it killed the whole group;
    * `:pids_max`: how often a fork was refused.

  What a file does not tell, because its controller is not enabled or the kernel older, is `nil`.

  Source: Documentation/admin-guide/cgroup-v2.rst, "cgroup.events", "memory.events",
  "pids.events".
  """

  alias Linx.Cgroup.Keyed

  @type t() :: %__MODULE__{
          populated: boolean() | nil,
          frozen: boolean() | nil,
          memory_low: non_neg_integer() | nil,
          memory_high: non_neg_integer() | nil,
          memory_max: non_neg_integer() | nil,
          memory_oom: non_neg_integer() | nil,
          memory_oom_kill: non_neg_integer() | nil,
          memory_oom_group_kill: non_neg_integer() | nil,
          pids_max: non_neg_integer() | nil
        }

  defstruct [
    :populated,
    :frozen,
    :memory_low,
    :memory_high,
    :memory_max,
    :memory_oom,
    :memory_oom_kill,
    :memory_oom_group_kill,
    :pids_max
  ]

  @doc false
  @spec from_files(binary(), binary(), binary()) :: t()
  def from_files(cgroup, memory, pids) do
    cgroup = Keyed.flat(cgroup)
    memory = Keyed.flat(memory)

    %__MODULE__{
      populated: boolean(cgroup["populated"]),
      frozen: boolean(cgroup["frozen"]),
      memory_low: memory["low"],
      memory_high: memory["high"],
      memory_max: memory["max"],
      memory_oom: memory["oom"],
      memory_oom_kill: memory["oom_kill"],
      memory_oom_group_kill: memory["oom_group_kill"],
      pids_max: Keyed.flat(pids)["max"]
    }
  end

  defp boolean(nil), do: nil
  defp boolean(number), do: number != 0
end
