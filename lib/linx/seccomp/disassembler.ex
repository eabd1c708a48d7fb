defmodule Linx.Seccomp.Disassembler do
  @moduledoc false
  # A cBPF program to text. All jumps go forward, so one pass knows what the accumulator holds at
  # each instruction: what every way to it has loaded, or nothing if they differ.

  alias Linx.Errno
  alias Linx.Seccomp.{Compiler, Syscalls}

  import Bitwise

  # linux/bpf_common.h, the instructions that seccomp filters are made of.
  @ld 0x20
  @alu_and 0x54
  @ja 0x05
  @jumps %{0x15 => "jeq", 0x25 => "jgt", 0x35 => "jge", 0x45 => "jset"}
  @ret 0x06

  # linux/seccomp.h, SECCOMP_RET_DATA.
  @data 0xFFFF

  @spec text(binary(), atom()) :: String.t()
  def text(bpf, arch) do
    insns = insns(bpf)
    width = insns |> length() |> Integer.to_string() |> String.length() |> max(4)

    {lines, _held} =
      insns
      |> Enum.with_index()
      |> Enum.map_reduce(%{0 => :nothing}, fn {insn, at}, held ->
        accumulator = Map.get(held, at, :nothing)
        {text, ways} = line(insn, at, accumulator, arch)
        held = Enum.reduce(ways, held, fn {to, holds}, held -> merge(held, to, holds) end)
        {String.pad_leading("#{at}", width) <> "  " <> text, held}
      end)

    Enum.join(lines, "\n")
  end

  defp insns(bpf) when rem(byte_size(bpf), 8) == 0 do
    for <<code::native-16, jt, jf, k::native-32 <- bpf>>, do: {code, jt, jf, k}
  end

  defp insns(bpf) do
    raise ArgumentError, "#{byte_size(bpf)} bytes are not whole BPF instructions of 8 bytes"
  end

  defp merge(held, at, holds),
    do: Map.update(held, at, holds, fn other -> if other == holds, do: holds, else: :nothing end)

  # The text, and which instructions come next with what in the accumulator.
  defp line({@ld, 0, 0, offset}, at, _held, _arch) do
    loaded = field(offset)
    {"ld " <> field_text(loaded), [{at + 1, loaded}]}
  end

  defp line({@alu_and, 0, 0, k}, at, held, _arch),
    do: {"and #{hex(k)}", [{at + 1, {:masked, held}}]}

  defp line({@ja, 0, 0, k}, at, held, _arch), do: {"ja #{at + 1 + k}", [{at + 1 + k, held}]}

  defp line({code, jt, jf, k}, at, held, arch) when is_map_key(@jumps, code) do
    {yes, no} = {at + 1 + jt, at + 1 + jf}
    {"#{@jumps[code]} #{value(k, held, arch)}, #{yes}, #{no}", [{yes, held}, {no, held}]}
  end

  defp line({@ret, 0, 0, k}, _at, _held, _arch), do: {"ret " <> action(k), []}

  defp line({code, jt, jf, k}, at, _held, _arch),
    do: {"code #{hex(code)} jt #{jt} jf #{jf} k #{hex(k)}", [{at + 1, :nothing}]}

  # struct seccomp_data; all architectures with a table are little-endian.
  defp field(0), do: :nr
  defp field(4), do: :arch
  defp field(8), do: {:ip, :low}
  defp field(12), do: {:ip, :high}

  defp field(offset) when offset in 16..60 and rem(offset, 4) == 0,
    do: {{:arg, div(offset - 16, 8)}, if(rem(offset, 8) == 0, do: :low, else: :high)}

  defp field(offset), do: {:offset, offset}

  defp field_text(field) when is_atom(field), do: Atom.to_string(field)
  defp field_text({:offset, offset}), do: "[#{offset}]"
  defp field_text({{:arg, n}, half}), do: "args[#{n}].#{half}"
  defp field_text({:ip, half}), do: "ip.#{half}"

  defp value(k, :arch, _arch) do
    Enum.find_value(Compiler.audit_archs(), hex(k), fn {name, audit} ->
      if audit == k, do: Atom.to_string(name)
    end)
  end

  defp value(k, :nr, arch) do
    case Syscalls.from_number(k, arch) do
      :unknown when k > @data -> hex(k)
      :unknown -> "#{k}"
      name -> "#{k} (#{name})"
    end
  end

  defp value(k, _held, _arch), do: hex(k)

  defp action(k) do
    data = k &&& @data

    case {Enum.find(Compiler.actions(), fn {_, number} -> number == k - data end), data} do
      {nil, _} -> hex(k)
      {{:errno, _}, data} -> "errno #{data}" <> errno(Errno.name(data))
      {{name, _}, 0} -> Atom.to_string(name)
      {{name, _}, data} -> "#{name} #{data}"
    end
  end

  defp errno(:unknown), do: ""
  defp errno(name), do: " (#{name})"

  defp hex(number), do: "0x" <> String.downcase(Integer.to_string(number, 16))
end
