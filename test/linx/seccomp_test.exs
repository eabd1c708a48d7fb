defmodule Linx.SeccompTest do
  use ExUnit.Case, async: true
  doctest Linx.Seccomp, import: true

  alias Linx.Seccomp
  alias Linx.Seccomp.{Builder, Compiler, Error, Filter, Syscalls}

  import Bitwise

  # The answer of a program, {:ret, k}, with seccomp_data as a map of its words.
  defp verdict(bpf, audit, number, args \\ []) do
    words =
      for {arg, index} <- Enum.with_index(args), {half, shift} <- [{0, 0}, {4, 32}], into: %{} do
        {16 + 8 * index + half, arg >>> shift &&& 0xFFFFFFFF}
      end

    insns = for <<code::native-16, jt, jf, k::native-32 <- bpf>>, do: {code, jt, jf, k}
    run(List.to_tuple(insns), 0, 0, Map.merge(words, %{0 => number, 4 => audit}))
  end

  defp run(insns, at, a, data) do
    case elem(insns, at) do
      {0x20, _, _, k} -> run(insns, at + 1, Map.get(data, k, 0), data)
      {0x54, _, _, k} -> run(insns, at + 1, a &&& k, data)
      {0x05, _, _, k} -> run(insns, at + 1 + k, a, data)
      {0x15, jt, jf, k} -> run(insns, at + 1 + if(a == k, do: jt, else: jf), a, data)
      {0x25, jt, jf, k} -> run(insns, at + 1 + if(a > k, do: jt, else: jf), a, data)
      {0x35, jt, jf, k} -> run(insns, at + 1 + if(a >= k, do: jt, else: jf), a, data)
      {0x06, _, _, k} -> k
    end
  end

  @allow 0x7FFF0000
  @eperm 0x00050001
  @kill 0x80000000

  defp compile!(arch, rules, default) do
    {:ok, filter} = Compiler.compile(arch, rules, default)
    {filter, Compiler.audit_archs()[arch]}
  end

  for arch <- [:x86_64, :aarch64, :arm, :riscv64] do
    test "#{arch}: each listed call is allowed, every other number of the table is not" do
      listed = ~w(read write close exit_group futex rt_sigreturn clone3 rseq_slice_yield)a
      {filter, audit} = compile!(unquote(arch), Enum.map(listed, &{:allow, &1}), {:errno, :eperm})

      for name <- Syscalls.all(unquote(arch)) do
        expected = if name in listed, do: @allow, else: @eperm
        number = Syscalls.to_number(name, unquote(arch))
        assert {name, verdict(filter.bpf, audit, number)} == {name, expected}
      end
    end

    test "#{arch}: a filter of the whole table compiles" do
      all = Syscalls.all(unquote(arch))

      {filter, audit} =
        compile!(
          unquote(arch),
          for({name, n} <- Enum.with_index(all), do: {{:errno, n}, name}),
          :allow
        )

      for {name, n} <- Enum.with_index(all) do
        number = Syscalls.to_number(name, unquote(arch))
        assert verdict(filter.bpf, audit, number) == (0x00050000 ||| n)
      end
    end

    test "#{arch}: a call of another architecture kills, whatever the default" do
      {filter, _} = compile!(unquote(arch), [{:allow, :read}], :allow)
      # AUDIT_ARCH_I386
      assert verdict(filter.bpf, 0x40000003, Syscalls.to_number(:read, unquote(arch))) == @kill
    end
  end

  test "the architecture is that of the VM's triple" do
    for {triple, arch} <- %{
          "x86_64-pc-linux-gnu" => :x86_64,
          "x86_64-pc-linux-gnux32" => :unsupported,
          "aarch64-unknown-linux-gnu" => :aarch64,
          "aarch64_be-unknown-linux-gnu" => :unsupported,
          "arm-unknown-linux-gnueabihf" => :arm,
          "armv7l-unknown-linux-gnueabihf" => :arm,
          "armv6-nerves-linux-gnueabihf" => :arm,
          "armv7-alpine-linux-musleabihf" => :arm,
          "armv5te-unknown-linux-gnueabi" => :arm,
          "armeb-unknown-linux-gnueabi" => :unsupported,
          "armv7b-unknown-linux-gnueabihf" => :unsupported,
          "armv5teb-unknown-linux-gnueabi" => :unsupported,
          "arm-unknown-linux-gnu" => :unsupported,
          "riscv64-unknown-linux-gnu" => :riscv64,
          "riscv32-unknown-linux-gnu" => :unsupported
        } do
      assert {triple, Compiler.arch(triple)} == {triple, arch}
    end
  end

  test "every action has the kernel's number" do
    for {action, expected} <- [
          allow: 0x7FFF0000,
          log: 0x7FFC0000,
          trap: 0x00030000,
          kill_thread: 0,
          kill_process: 0x80000000
        ] do
      {filter, audit} = compile!(:aarch64, [{action, :read}], {:errno, 4095})
      assert verdict(filter.bpf, audit, 63) == expected
      assert verdict(filter.bpf, audit, 64) == 0x00050FFF
    end
  end

  describe "conditions" do
    @big 0x1_0000_0005

    for {operator, holds} <- [eq: [0], ne: [-1, 1], lt: [-1], le: [-1, 0], gt: [1], ge: [0, 1]] do
      test "#{operator}" do
        rule = {:allow, :write, [{2, unquote(operator), @big}]}
        {filter, audit} = compile!(:x86_64, [rule], {:errno, :eperm})

        for offset <- [-1, 0, 1], step <- [1, 1 <<< 32] do
          expected = if offset in unquote(holds), do: @allow, else: @eperm
          assert verdict(filter.bpf, audit, 1, [0, 0, @big + offset * step]) == expected
        end
      end
    end

    test "masked_eq looks at the bits under the mask" do
      mask = 0xF_0000_000F
      rule = {:allow, :clone, [{0, :masked_eq, mask, 0x3_0000_0001}]}
      {filter, audit} = compile!(:x86_64, [rule], {:errno, :eperm})
      verdict = &verdict(filter.bpf, audit, 56, [&1])

      assert verdict.(0x3_0000_0001) == @allow
      assert verdict.(0xFFFF_FFF3_FFFF_FFF1) == @allow
      assert verdict.(0x2_0000_0001) == @eperm
      assert verdict.(0x3_0000_0000) == @eperm
    end

    test "a negative value is its two's complement, under a mask that much of it" do
      rules = [
        {:allow, :openat, [{0, :masked_eq, 0xFFFFFFFF, -100}]},
        {:allow, :dup, [{0, :eq, -1}]}
      ]

      {filter, audit} = compile!(:x86_64, rules, {:errno, :eperm})
      assert verdict(filter.bpf, audit, 257, [0xFFFFFF9C]) == @allow
      assert verdict(filter.bpf, audit, 257, [0xFFFFFFFF_FFFFFF9C]) == @allow
      assert verdict(filter.bpf, audit, 257, [0xFFFFFF9D]) == @eperm
      assert verdict(filter.bpf, audit, 32, [0xFFFFFFFF_FFFFFFFF]) == @allow
      assert verdict(filter.bpf, audit, 32, [0xFFFFFFFF]) == @eperm
    end

    test "of arm a negative value is a two's complement of 32 bits" do
      rules = [
        {:allow, :openat, [{0, :eq, -100}]},
        {:allow, :dup, [{0, :masked_eq, -1, -1}]},
        {:allow, :close, [{0, :masked_eq, 0xFF, -1}]}
      ]

      {filter, audit} = compile!(:arm, rules, {:errno, :eperm})
      assert verdict(filter.bpf, audit, 322, [0xFFFFFF9C]) == @allow
      assert verdict(filter.bpf, audit, 322, [0xFFFFFF9D]) == @eperm
      assert verdict(filter.bpf, audit, 41, [0xFFFFFFFF]) == @allow
      assert verdict(filter.bpf, audit, 41, [0xFFFFFFFE]) == @eperm
      assert verdict(filter.bpf, audit, 6, [0x12345FF]) == @allow
      assert verdict(filter.bpf, audit, 6, [0x12345FE]) == @eperm
    end

    test "of arm a positive value beyond 32 bits is above every argument" do
      for {operator, expected} <- [eq: @eperm, ne: @allow, lt: @allow, ge: @eperm] do
        rule = {:allow, :write, [{2, operator, @big}]}
        {filter, audit} = compile!(:arm, [rule], {:errno, :eperm})
        assert {operator, verdict(filter.bpf, audit, 4, [0, 0, 5])} == {operator, expected}
      end
    end

    test "of arm a negative value of more than 32 bits is no argument's" do
      for condition <- [{0, :eq, -0x80000001}, {0, :masked_eq, -0x80000001, 0}] do
        assert Compiler.compile(:arm, [{:allow, :read, [condition]}], :trap) ==
                 {:error, {:bad_condition, condition}}

        assert {:ok, _} = Compiler.compile(:riscv64, [{:allow, :read, [condition]}], :trap)
      end
    end

    test "of several rules for a call the first that holds decides, then the one without " <>
           "conditions" do
      rules = [
        {:trap, :socket, [{0, :eq, 1}, {1, :eq, 2}]},
        {{:errno, :eperm}, :socket, [{0, :eq, 1}]},
        {:allow, :socket}
      ]

      {filter, audit} = compile!(:x86_64, rules, :kill_process)
      assert verdict(filter.bpf, audit, 41, [1, 2]) == 0x00030000
      assert verdict(filter.bpf, audit, 41, [1, 3]) == @eperm
      assert verdict(filter.bpf, audit, 41, [2, 2]) == @allow
    end

    test "an empty list of them is none" do
      assert {:ok, %Filter{rules: {[{:allow, :read}], :kill_process}}} =
               Seccomp.from_rules({[{:allow, :read, []}], :kill_process})
    end

    test "a rule that can never be reached is a duplicate" do
      for rules <- [
            [{:allow, :read}, {:trap, :read, [{0, :eq, 1}]}],
            [{:allow, :read, [{0, :eq, 1}]}, {:trap, :read, [{0, :eq, 1}]}],
            [{:allow, :read, [{0, :eq, 1}]}, {:allow, :read}, {:trap, :read}]
          ] do
        assert Seccomp.from_rules({rules, :allow}) == {:error, {:duplicate_rule, :read}}
      end
    end

    test "malformed ones are named" do
      for condition <- [
            {6, :eq, 1},
            {-1, :eq, 1},
            {0, :equals, 1},
            {0, :eq, 1 <<< 64},
            {0, :eq, -(1 <<< 63) - 1},
            {0, :eq, 1.0},
            {0, :masked_eq, 1},
            {0, :masked_eq, 0xF0, 0x01},
            {0, :masked_eq, 0xFFFFFFFF, 1 <<< 32},
            {0, :masked_eq, 0xFFFFFFFF, -(1 <<< 33)},
            :nonsense
          ] do
        assert Seccomp.from_rules({[{:allow, :read, [condition]}], :allow}) ==
                 {:error, {:bad_condition, condition}}
      end
    end
  end

  test "mistakes are named" do
    assert Seccomp.from_rules(:rules) == {:error, {:bad_rule, :rules}}
    assert Seccomp.from_rules({:rules, :allow}) == {:error, {:bad_rule, :rules}}

    for term <- [:read, nil, "read", 0, {:read}, [:read | :write], & &1] do
      assert Seccomp.allow_list(term) == {:error, {:bad_rule, term}}
      assert Seccomp.deny_list(term) == {:error, {:bad_rule, term}}
    end

    assert Seccomp.allow_list(Stream.take([:read], 1)) == Seccomp.allow_list([:read])

    assert Seccomp.from_rules({[{:allow, :read} | :x], :allow}) ==
             {:error, {:bad_rule, [{:allow, :read} | :x]}}

    for rule <- [
          :read,
          {:allow, "read"},
          {:allow},
          {:allow, :read, :always},
          {:allow, :read, [{0, :eq, 1} | :x]}
        ] do
      assert Seccomp.from_rules({[rule], :allow}) == {:error, {:bad_rule, rule}}
    end

    for action <- [:deny, {:errno, 4096}, {:errno, -1}, {:errno, :enope}, {:trap, 1}, "allow"] do
      assert Seccomp.from_rules({[{action, :read}], :allow}) == {:error, {:bad_action, action}}
      assert Seccomp.from_rules({[], action}) == {:error, {:bad_action, action}}
      assert Seccomp.deny_list([], deny_action: action) == {:error, {:bad_action, action}}
    end

    assert Compiler.compile(:loongarch64, [], :allow) ==
             {:error, {:unsupported_arch, :loongarch64}}

    assert Compiler.compile(:aarch64, [{:allow, :open}], :trap) ==
             {:error, {:unknown_syscall, :open}}

    assert_raise ArgumentError, fn -> Seccomp.allow_list([:read], defualt: :allow) end
    assert_raise ArgumentError, fn -> Seccomp.deny_list([:read], action: :trap) end
  end

  test "a filter beyond the kernel's limit is refused" do
    # A comparison reads both halves of an argument, and only one where arguments have 32 bits.
    smallest = if :erlang.system_info(:wordsize) == 8, do: 1500, else: 2500

    for count <- [smallest, 5000] do
      rules = for n <- 1..count, do: {:trap, :read, [{0, :eq, n <<< 20}]}

      assert {:error, %Error{operation: :build, errno: :e2big, code: 7} = error} =
               Seccomp.from_rules({rules, :allow})

      assert Exception.message(error) == "seccomp build failed: e2big (errno 7)"
    end

    rules = for n <- 1..900, do: {:trap, :read, [{0, :eq, n <<< 20}]}
    assert {:ok, %Filter{}} = Seccomp.from_rules({rules, :allow})
  end

  test "the builder's conditional rules" do
    {:ok, filter} =
      Seccomp.builder()
      |> Builder.allow_if(:socket, [{0, :eq, 1}])
      |> Builder.deny_if(:socket, [{0, :eq, 16}], errno: :eacces)
      |> Builder.deny_if(:socket, [{0, :eq, 17}], action: :trap)
      |> Builder.deny_if(:socket, [{0, :eq, 2}])
      |> Builder.allow(:socket)
      |> Builder.build()

    assert Seccomp.to_rules(filter) ==
             {:ok,
              {[
                 {:allow, :socket, [{0, :eq, 1}]},
                 {{:errno, :eacces}, :socket, [{0, :eq, 16}]},
                 {:trap, :socket, [{0, :eq, 17}]},
                 {{:errno, :eperm}, :socket, [{0, :eq, 2}]},
                 {:allow, :socket}
               ], :kill_process}}

    assert inspect(filter) =~ ~r/ 1 syscalls, \d+ BPF insns>$/
  end

  test "a filter that came as bytes shows no count of calls" do
    assert inspect(%Filter{arch: :aarch64, bpf: <<0::128>>}) ==
             "#Linx.Seccomp.Filter<aarch64 2 BPF insns>"
  end

  describe "disassemble" do
    test "names what is compared" do
      {filter, _} =
        compile!(:x86_64, [{:allow, :write, [{2, :masked_eq, 0xFF, 1}]}], {:errno, :eperm})

      assert String.split(Seccomp.disassemble(filter), "\n") == [
               "   0  ld arch",
               "   1  jeq x86_64, 3, 2",
               "   2  ret kill_process",
               "   3  ld nr",
               "   4  jge 1 (write), 5, 10",
               "   5  jge 2 (open), 10, 6",
               "   6  ld args[2].low",
               "   7  and 0xff",
               "   8  jeq 0x1, 9, 10",
               "   9  ret allow",
               "  10  ret errno 1 (eperm)"
             ]
    end

    test "shows what it does not know in numbers" do
      bpf = <<0x87::native-16, 1, 2, 3::native-32, 0x15::native-16, 0, 0, 59::native-32>>
      assert Seccomp.disassemble(bpf) == "   0  code 0x87 jt 1 jf 2 k 0x3\n   1  jeq 0x3b, 2, 2"
      assert Seccomp.disassemble("") == ""
      assert_raise ArgumentError, fn -> Seccomp.disassemble("1234567") end
    end

    test "does not name a number that may be something else" do
      # Two ways lead to the comparison, with different words loaded.
      insns = [
        {0x20, 0, 0, 0},
        {0x15, 0, 1, 5},
        {0x20, 0, 0, 4},
        {0x15, 0, 0, 59},
        {0x06, 0, 0, 0x7FFF0000}
      ]

      bpf =
        for {code, jt, jf, k} <- insns, into: "", do: <<code::native-16, jt, jf, k::native-32>>

      assert Seccomp.disassemble(bpf) =~ "3  jeq 0x3b"
    end
  end
end
