defmodule Linx.Mount.Request do
  @moduledoc false
  # The system call that a list of mount(2) flags asks for.

  alias Linx.Mount.{Attributes, Flags}

  @doc """
  The call that carries out `flags` whole.

  mount(2) looks at one kind of request and drops the flags of the others without a word. Here
  such a flag is an error, and what mount(2) cannot do in one step, or not at all, is a call of
  mount_setattr(2).
  """
  @spec call([atom()]) ::
          {:ok, {:mount, non_neg_integer()} | {:bind | :setattr, Attributes.t()}}
          | {:error, {:bad_flag, term()}}
  def call(flags) do
    with {:ok, bits} <- Flags.mount(flags) do
      recursive? = :rec in flags
      attributes = Enum.filter(flags, &(&1 in Attributes.flags()))

      case Enum.filter([:remount, :bind, :move], &(&1 in flags)) do
        [:remount, :bind] when recursive? ->
          only(flags, [:remount, :bind] ++ attributes, attributes, :setattr)

        [:remount, :bind] ->
          only(flags, [:remount, :bind] ++ attributes, {:mount, bits})

        [:remount] ->
          without(flags, [:rec, :private, :slave, :shared, :unbindable], {:mount, bits})

        [:bind] when attributes == [] ->
          only(flags, [:bind], {:mount, bits})

        [:bind] ->
          only(flags, [:bind] ++ attributes, attributes, :bind)

        [:move] ->
          only(flags, [:move], {:mount, bits})

        [] ->
          {:ok, {:mount, bits}}

        several ->
          {:error, {:bad_flag, List.last(several)}}
      end
    end
  end

  defp only(flags, meant, attributes, kind) do
    with {:ok, _} <- only(flags, meant, kind),
         {:ok, attributes} <- Attributes.parse(attributes, :rec in flags),
         do: {:ok, {kind, attributes}}
  end

  defp only(flags, meant, call) do
    case Enum.find(flags, &(&1 not in [:rec, :silent | meant])) do
      nil -> {:ok, call}
      flag -> {:error, {:bad_flag, flag}}
    end
  end

  defp without(flags, ignored, call) do
    case Enum.find(flags, &(&1 in ignored)) do
      nil -> {:ok, call}
      flag -> {:error, {:bad_flag, flag}}
    end
  end
end
