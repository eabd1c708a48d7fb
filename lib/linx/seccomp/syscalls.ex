defmodule Linx.Seccomp.Syscalls do
  @moduledoc false
  # Every system call of the kernel, by name, with its number on each architecture. The table is
  # data, in syscalls.tbl; bin/syscall-table makes it anew from the headers of the newest kernel
  # in Debian testing.

  @path Path.join(__DIR__, "syscalls.tbl")
  @external_resource @path

  # The columns of the table.
  @archs [:x86_64, :aarch64, :arm, :riscv64]

  rows =
    for line <- File.stream!(@path), not String.starts_with?(line, "#") do
      [name | numbers] = String.split(line)
      {String.to_atom(name), numbers}
    end

  table =
    for {arch, column} <- Enum.with_index(@archs), into: %{} do
      numbers =
        for {name, numbers} <- rows, Enum.at(numbers, column) != "-", into: %{} do
          {name, numbers |> Enum.at(column) |> String.to_integer()}
        end

      {arch, numbers}
    end

  @numbers table
  @names Map.new(table, fn {arch, numbers} ->
           {arch, Map.new(numbers, fn {k, v} -> {v, k} end)}
         end)

  @doc "The number of a call, or `:unknown` where the architecture has none of that name."
  @spec to_number(atom(), atom()) :: non_neg_integer() | :unknown
  def to_number(name, arch) do
    case @numbers do
      %{^arch => %{^name => number}} -> number
      _ -> :unknown
    end
  end

  @doc "The name of a number, or `:unknown` for one that is newer than the table, or none."
  @spec from_number(integer(), atom()) :: atom()
  def from_number(number, arch) do
    case @names do
      %{^arch => %{^number => name}} -> name
      _ -> :unknown
    end
  end

  @doc "All names of an architecture; empty for one that has no table."
  @spec all(atom()) :: MapSet.t(atom())
  def all(arch), do: @numbers |> Map.get(arch, %{}) |> Map.keys() |> MapSet.new()
end
