defmodule Linx.Netfilter.Event do
  @moduledoc """
  One change of a ruleset, as `Linx.Netfilter.Monitor` reports it.

  `:gen_id`, `:proc_pid` and `:proc_name` say which commit it belongs to and who made it. `:op`
  says what happened, `:entity` holds what it happened to:

  | `:op` | `:entity` |
  |---|---|
  | `:new_gen` | `%{id:, proc_pid:, proc_name:}` |
  | `:new_table`, `:del_table` | `%Linx.Netfilter.Table{}` |
  | `:new_chain`, `:del_chain` | `{family, %Linx.Netfilter.Chain{}}` |
  | `:new_rule`, `:del_rule` | `{family, table, chain, %Linx.Netfilter.Rule{}}` |
  | `:new_set`, `:del_set` | `{family, %Linx.Netfilter.Set{} \\| %Linx.Netfilter.Map{}}` |
  | `:new_set_element`, `:del_set_element` | `{family, table, set, elements}`, keys and values as bytes |
  | `:new_obj`, `:del_obj` | `{family, %Linx.Netfilter.Object{}}` |
  | `:new_flowtable`, `:del_flowtable` | `{family, %Linx.Netfilter.Flowtable{}}` |
  | `{:unknown, type}` | the message's bytes |

  Source: include/uapi/linux/netfilter/nf_tables.h, `enum nf_tables_msg_types`.
  """

  defstruct [:gen_id, :proc_pid, :proc_name, :op, :entity]

  @type op ::
          :new_gen
          | :new_table
          | :del_table
          | :new_chain
          | :del_chain
          | :new_rule
          | :del_rule
          | :new_set
          | :del_set
          | :new_set_element
          | :del_set_element
          | :new_obj
          | :del_obj
          | :new_flowtable
          | :del_flowtable
          | {:unknown, non_neg_integer()}

  @type t :: %__MODULE__{
          entity: term(),
          gen_id: non_neg_integer() | nil,
          op: op(),
          proc_name: String.t() | nil,
          proc_pid: non_neg_integer() | nil
        }

  defimpl Inspect do
    def inspect(event, _opts) do
      parts = ["gen=#{event.gen_id || "?"}", event.proc_name, op(event.op), place(event.entity)]
      "#Linx.Netfilter.Event<#{parts |> Enum.reject(&(&1 in [nil, ""])) |> Enum.join(" ")}>"
    end

    defp op({:unknown, type}), do: "unknown(#{type})"
    defp op(op), do: to_string(op)

    defp place(%{family: family, name: name}), do: "#{family}/#{name}"
    defp place({family, %{table: table, name: name}}), do: "#{family}/#{table}/#{name}"
    defp place({family, table, name, _detail}), do: "#{family}/#{table}/#{name}"
    defp place(_other), do: nil
  end
end
