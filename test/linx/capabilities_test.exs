defmodule Linx.CapabilitiesTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias Linx.Capabilities
  alias Linx.Capabilities.{Constants, Error, State}

  doctest Linx.Capabilities
  doctest Linx.Capabilities.Error

  @status """
  Name:\tcat
  CapInh:\t0000000000000000
  CapPrm:\t0000000000003000
  CapEff:\t0000000000001000
  CapBnd:\t000001ffffffffff
  CapAmb:\t0000000000000000
  Seccomp:\t0
  """

  test "the table is the kernel's" do
    assert MapSet.size(Constants.all()) == 41
    assert Constants.to_bit(:cap_chown) == 0
    assert Constants.to_bit(:cap_net_bind_service) == 10
    assert Constants.to_bit(:cap_sys_admin) == 21
    assert Constants.to_bit(:cap_setfcap) == 31
    assert Constants.to_bit(:cap_checkpoint_restore) == 40
    assert Constants.from_bit(41) == :unknown
    for cap <- Constants.all(), do: assert(Constants.from_bit(Constants.to_bit(cap)) == cap)
  end

  test "masks and sets turn into each other" do
    {:ok, mask} = Constants.to_mask([:cap_chown, :cap_chown, :cap_net_admin])
    assert mask == 0x1001
    assert Constants.from_bits(mask) == MapSet.new([:cap_chown, :cap_net_admin])
    {:ok, all} = Constants.to_mask(Constants.all())
    assert Constants.from_bits(all) == Constants.all()
    assert Constants.from_bits(0xFFFFFFFFFFFFFFFF) == Constants.all()
    assert Constants.to_mask(MapSet.new()) == {:ok, 0}
    assert Constants.to_mask(Stream.take([:cap_kill], 1)) == {:ok, 0x20}
    assert Constants.to_mask([:cap_kill, "cap_chown"]) == {:error, {:bad_capability, "cap_chown"}}
  end

  test "a status file is read set by set" do
    assert {:ok, %State{} = state} = Capabilities.parse(@status, "/x")
    assert state.permitted == MapSet.new([:cap_net_admin, :cap_net_raw])
    assert state.effective == MapSet.new([:cap_net_admin])
    assert state.bounding == Constants.all()
    assert inspect(state) == "#Linx.Capabilities.State<eff=1 prm=2 inh=0 bnd=41 amb=0>"
  end

  test "a status file without one of them is bad_status" do
    for line <- ~w(CapInh CapPrm CapEff CapBnd CapAmb) do
      text = String.replace(@status, line, "CapXyz")
      error = %Error{path: "/x", operation: :read, errno: :bad_status, code: nil}
      assert Capabilities.parse(text, "/x") == {:error, error}

      assert Capabilities.parse(String.replace(@status, "#{line}:\t", "#{line}:\tz"), "/x") ==
               {:error, error}
    end
  end

  test "capabilities of a newer kernel are left out with one warning" do
    text = String.replace(@status, "000001ffffffffff", "000007ffffffffff")

    log =
      capture_log(fn ->
        assert {:ok, state} = Capabilities.parse(text, "/x")
        assert state.bounding == Constants.all()
      end)

    assert log =~ "0x60000000000"
    # The log is everybody's: another test's warning names another file.
    assert length(String.split(log, "/x has capabilities that Linx has no name for")) == 2
    refute capture_log(fn -> Capabilities.parse(@status, "/known") end) =~ "/known"
  end

  test "the warning names those of all sets" do
    text =
      @status
      |> String.replace(~r/^CapBnd:\t.*$/m, "CapBnd:\t0000020000000000")
      |> String.replace(~r/^CapInh:\t.*$/m, "CapInh:\t0000040000000001")

    log = capture_log(fn -> assert {:ok, _} = Capabilities.parse(text, "/x") end)
    assert log =~ "0x60000000000"
  end

  test "a process that is not there is enoent" do
    assert Capabilities.read(1_234_567_890) ==
             {:error,
              %Error{path: "/proc/1234567890/status", operation: :read, errno: :enoent, code: 2}}
  end

  test "our own sets are read, by either name" do
    assert Capabilities.supported?()
    assert {:ok, %State{}} = Capabilities.read(:self)
  end

  test "what is no capability is refused before the session is asked" do
    session = spawn(fn -> :ok end)
    bad = {:error, {:bad_capability, :cap_typo}}
    assert Capabilities.drop_bounding(session, [:cap_typo]) == bad
    assert Capabilities.set_ambient(session, [:cap_typo]) == bad

    for term <- [:all, nil, "cap_chown", 7, {:cap_chown}, [:cap_chown | :cap_kill], & &1] do
      bad = {:error, {:bad_capability, term}}
      assert Capabilities.drop_bounding(session, term) == bad
      assert Capabilities.set_ambient(session, term) == bad

      for key <- [:effective, :permitted, :inheritable] do
        opts = Keyword.put([effective: [], permitted: [], inheritable: []], key, term)
        assert Capabilities.set_thread_sets(session, opts) == bad
      end
    end

    assert Capabilities.set_thread_sets(session, permitted: [], inheritable: []) ==
             {:error, {:bad_thread_sets, {:missing, :effective}}}

    assert_raise ArgumentError, fn -> Capabilities.set_thread_sets(session, bounding: []) end
    assert Capabilities.drop_bounding(session, [:cap_kill]) == {:error, :no_process}
  end
end
