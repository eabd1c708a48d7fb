defmodule Linx.Mount.MountinfoTest do
  use ExUnit.Case, async: true

  alias Linx.Mount.{Entry, Mountinfo}

  # cat /proc/self/mountinfo, after mount -t tmpfs 'back\slash' "$(printf '/mnt/sp
  # ace\ttab\nline#hash')" and more.
  @capture """
  22 27 0:20 / /proc rw,nosuid,nodev,noexec,relatime shared:5 - proc proc rw
  27 1 253:1 / / rw,relatime shared:1 - ext4 /dev/mapper/root rw,errors=remount-ro
  401 27 0:55 / /mnt/sp\\040ace\\011tab\\012line\\043hash rw,relatime - tmpfs back\\134slash \
  rw,size=1024k
  402 27 0:56 /sub /var/lib/x ro,nosuid master:12 propagate_from:2 - overlay overlay \
  rw,lowerdir=/a:/b,upperdir=/c
  403 27 0:57 / /u rw unbindable - tmpfs none rw
  404 -1 0:58 net:[4026531840] /run/netns/blue rw shared:3 master:1 - nsfs nsfs rw
  """

  test "reads every field" do
    assert [proc, root, odd, overlay, unbindable, netns] = Mountinfo.parse(@capture)

    assert root == %Entry{
             mount_id: 27,
             parent_id: 1,
             device: "253:1",
             root: "/",
             mount_point: "/",
             mount_options: "rw,relatime",
             propagation: [{:shared, 1}],
             fstype: "ext4",
             source: "/dev/mapper/root",
             super_options: "rw,errors=remount-ro"
           }

    assert proc.fstype == "proc"
    assert odd.mount_point == "/mnt/sp ace\ttab\nline#hash"
    assert odd.source == "back\\slash"
    assert odd.propagation == []
    assert overlay.root == "/sub"
    assert overlay.propagation == [{:master, 12}, {:propagate_from, 2}]
    assert overlay.super_options == "rw,lowerdir=/a:/b,upperdir=/c"
    assert unbindable.propagation == [:unbindable]
    assert netns.parent_id == -1
    assert netns.root == "net:[4026531840]"
  end

  test "a source without a name is empty" do
    assert [%Entry{source: "", super_options: "rw"}] =
             Mountinfo.parse("1 0 0:1 / /a rw - tmpfs  rw\n")
  end

  test "a path of bytes that are no text stays what it is" do
    assert [%Entry{mount_point: <<"/a", 0xFF>>}] =
             Mountinfo.parse(<<"1 0 0:1 / /a", 0xFF, " rw - tmpfs t rw\n">>)
  end

  test "what only looks like an escape stays" do
    assert [%Entry{mount_point: "/a\\04", root: "\\999\\777"}] =
             Mountinfo.parse("1 0 0:1 \\999\\777 /a\\04 rw - tmpfs t rw\n")
  end

  test "lines of another shape are left out, and the others stay" do
    good = "1 0 0:1 / /a rw - tmpfs t rw"

    for bad <- [
          "",
          "nonsense",
          "1 0 0:1 / /a rw",
          "1 0 0:1 / /a rw -",
          "1 0 0:1 / /a rw - tmpfs",
          "1 0 0:1 / /a rw - tmpfs t",
          "x 0 0:1 / /a rw - tmpfs t rw",
          "+1 0 0:1 / /a rw - tmpfs t rw",
          "1 y 0:1 / /a rw - tmpfs t rw",
          "1 0 01 / /a rw - tmpfs t rw",
          "1 0 a:b / /a rw - tmpfs t rw",
          "1 0 0:1 / /a rw shared - tmpfs t rw",
          "1 0 0:1 / /a rw shared:x - tmpfs t rw",
          "1 0 0:1 / /a rw shared:-1 - tmpfs t rw",
          "1 0 0:1 / /a rw future:9 - tmpfs t rw"
        ] do
      assert {bad, [%Entry{mount_point: "/a"}]} ==
               {bad,
                Mountinfo.parse("#{bad}\n#{good}\n#{bad}\n")
                |> Enum.map(&%Entry{mount_point: &1.mount_point})}
    end
  end

  test "a text cut anywhere raises nothing" do
    for size <- 0..byte_size(@capture) do
      entries = @capture |> binary_part(0, size) |> Mountinfo.parse()
      assert length(entries) <= 6
    end
  end

  test "it is inspected by type, place and options" do
    [entry | _] = Mountinfo.parse(@capture)
    assert inspect(entry) == "#Linx.Mount.Entry<proc on /proc (rw,nosuid,nodev,noexec,relatime)>"
    odd = %Entry{fstype: "tmpfs", mount_point: "/a\nb", mount_options: "rw"}
    assert inspect(odd) == ~S|#Linx.Mount.Entry<tmpfs on "/a\nb" (rw)>|
  end
end
