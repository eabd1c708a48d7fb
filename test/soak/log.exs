defmodule Soak.Log do
  # A crash that nobody was linked to is known by its report alone. Deaths that scenarios arrange
  # are no crashes.

  @arranged [:normal, :shutdown, :killed]

  def start do
    :ets.new(__MODULE__, [:named_table, :public, :duplicate_bag])
    :logger.remove_handler(:default)
    :ok = :logger.add_handler(__MODULE__, __MODULE__, %{level: :error})
  end

  def crashes, do: for({:crash, text} <- :ets.tab2list(__MODULE__), do: text)

  # The handler's callback.
  def log(%{msg: message}, _config) do
    unless arranged?(message), do: :ets.insert(__MODULE__, {:crash, inspect(message, limit: 50)})
  end

  defp arranged?({:report, %{reason: reason}}), do: reason in @arranged
  defp arranged?(_message), do: false
end
