defmodule Linx.Capabilities.State do
  @moduledoc """
  The five capability sets of a process at one moment.

    * `:effective`: what the kernel grants it now;
    * `:permitted`: what it may make effective;
    * `:inheritable`: what passes an execve(2) to a file that asks for it;
    * `:bounding`: what an execve(2) can give it at most; it only ever shrinks;
    * `:ambient`: what passes an execve(2) of any file, and is effective after it.

  Each is a `MapSet` of `:cap_*` atoms. A snapshot is inspected by sizes,
  `#Linx.Capabilities.State<eff=2 prm=2 inh=0 bnd=41 amb=0>`; the fields have the names.

  Source: capabilities(7), "Thread capability sets".
  """

  @type t() :: %__MODULE__{
          effective: MapSet.t(atom()),
          permitted: MapSet.t(atom()),
          inheritable: MapSet.t(atom()),
          bounding: MapSet.t(atom()),
          ambient: MapSet.t(atom())
        }

  defstruct effective: MapSet.new(),
            permitted: MapSet.new(),
            inheritable: MapSet.new(),
            bounding: MapSet.new(),
            ambient: MapSet.new()

  defimpl Inspect do
    def inspect(state, _opts) do
      sizes =
        Enum.map_join(
          [eff: :effective, prm: :permitted, inh: :inheritable, bnd: :bounding, amb: :ambient],
          " ",
          fn {label, field} -> "#{label}=#{state |> Map.fetch!(field) |> Enum.count()}" end
        )

      "#Linx.Capabilities.State<#{sizes}>"
    end
  end
end
