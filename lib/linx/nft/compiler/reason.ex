defmodule Linx.NFT.Compiler.Reason do
  @moduledoc false
  # Messages for the reasons with which the value structs (`Linx.Netfilter.Chain.new/2`,
  # `Set.new/2`, ...) refuse their input.

  alias Linx.NFT.Parser.Tokens

  @wrappers ~w(bad_rule bad_chain bad_set bad_map bad_object bad_flowtable bad_table)a

  @doc false
  @spec text(term()) :: String.t()
  def text({wrapper, reason}) when wrapper in @wrappers, do: text(reason)

  def text({:bad_comment, text}) when is_binary(text),
    do: Tokens.comment_fault(text) || "this comment is not accepted"

  def text({:bad_name, name}) when is_binary(name),
    do: "a name has 1 to 255 bytes and no NUL, this one has #{byte_size(name)}"

  def text({:bad_device, name}) when is_binary(name),
    do: "#{inspect(name)} is no interface name: 1 to 15 bytes without a slash or a blank"

  def text({:bad_priority, priority}), do: "#{words(priority)} is no priority"

  def text({:hook_not_valid_for_family, %{hook: hook, family: family}}),
    do: "hook #{hook} does not exist in family #{family}"

  def text({:type_not_valid_for_family, %{type: type, family: family}}),
    do: "chains of type #{type} do not exist in family #{family}"

  def text({:hook_not_valid_for_type, %{hook: hook, type: type}}),
    do: "a chain of type #{type} has no hook #{hook}"

  def text({:priority_not_valid_for_family, %{priority: priority, family: family}}),
    do: "priority #{words(priority)} does not exist in family #{family}"

  def text({:device_required_for_hook, hook}), do: "a chain at hook #{hook} needs a device"
  def text({:device_not_valid_for_hook, hook}), do: "a chain at hook #{hook} has no device"
  def text(:device_needs_hook), do: "only a chain at a hook has devices"
  def text({:policy_needs_hook, _policy}), do: "only a chain with type and hook has a policy"

  def text({:missing, keys}),
    do: "the chain lacks its #{Enum.map_join(keys, " and its ", &words/1)}"

  def text({:duplicate_chain, name}), do: "chain #{name} is declared twice"
  def text({:duplicate_set, name}), do: "a set or map #{name} is declared already"
  def text({:duplicate_flowtable, name}), do: "flowtable #{name} is declared twice"

  def text({:duplicate_object, {kind, name}}), do: "#{words(kind)} #{name} is declared twice"

  def text({:bad_element, _element, :needs_interval_flag}),
    do: "the set has ranges or prefixes: add flags interval to it"

  def text({:bad_element, element, reason}),
    do: "element #{words(element)} does not fit: #{words(reason)}"

  def text({:bad_option, {key, value}}), do: "#{words(key)} cannot be #{words(value)}"
  def text({:bad_flags, flags}), do: "flags that do not fit here: #{words(flags)}"
  def text(reason), do: words(reason)

  # A term that no clause above knows, without the marks of Elixir.
  defp words(atom) when is_atom(atom), do: atom |> Atom.to_string() |> String.replace("_", " ")
  defp words(text) when is_binary(text), do: inspect(text)
  defp words(number) when is_number(number), do: to_string(number)
  defp words([]), do: "none"
  defp words(list) when is_list(list), do: Enum.map_join(list, ", ", &words/1)

  defp words(tuple) when is_tuple(tuple),
    do: tuple |> Tuple.to_list() |> Enum.map_join(" ", &words/1)

  defp words(other), do: inspect(other)
end
