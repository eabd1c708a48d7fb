defmodule Linx.Doctor.Finding do
  @moduledoc """
  One thing that was looked at.

    * `:area` - the group it belongs to, such as `:netfilter`;
    * `:item` - what was looked at;
    * `:status` - `:ok`, or `:missing`;
    * `:detail` - what was seen, one line;
    * `:advice` - what to do about it; nil when there is nothing to do.
  """

  @enforce_keys [:area, :item, :status, :detail]
  defstruct [:area, :item, :status, :detail, :advice]

  @type area() ::
          :kernel
          | :library
          | :privilege
          | :namespaces
          | :cgroup
          | :seccomp
          | :terminal
          | :links
          | :netfilter
          | :tools
          | :config

  @type t() :: %__MODULE__{
          area: area(),
          item: String.t(),
          status: :ok | :missing,
          detail: String.t(),
          advice: String.t() | nil
        }

  # A finding from what a probe said: `{:ok, detail}` or `{:missing, detail, advice}`.
  @doc false
  @spec new(area(), String.t(), {:ok, String.t()} | {:missing, String.t(), String.t() | nil}) ::
          t()
  def new(area, item, {:ok, detail}),
    do: %__MODULE__{area: area, item: item, status: :ok, detail: detail}

  def new(area, item, {:missing, detail, advice}),
    do: %__MODULE__{area: area, item: item, status: :missing, detail: detail, advice: advice}
end
