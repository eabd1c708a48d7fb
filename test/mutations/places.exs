detached = "native/linx_sys/src/mount/detached.rs"
mount = "native/linx_sys/src/mount.rs"
work = "native/linx_sys/src/work.rs"
attributes = ["mix", "test", "test/integration/mount_attributes_test.exs"]
hung = ["mix", "test", "test/integration/hung_mount_test.exs"]
propagation = ["mix", "test", "test/integration/propagation_test.exs"]
cgroups = ["mix", "test", "test/integration/cgroup_test.exs"]
sysctls = ["mix", "test", "test/integration/sysctl_test.exs"]

[
  %{
    name: "bind-attributes",
    promise: "A bind mount with flags has them before it is attached.",
    file: detached,
    replace: """
            let clone = clone_file(source.as_fd(), &request.attributes)?;
            set_attributes(clone.as_fd(), c"", &request.attributes, idmap)?;
            attach(&clone, target.as_fd())
    """,
    with: """
            let clone = clone_file(source.as_fd(), &request.attributes)?;
            attach(&clone, target.as_fd())?;
            set_attributes(clone.as_fd(), c"", &request.attributes, idmap)
    """,
    run: attributes
  },
  %{
    name: "setattr-recursive",
    promise: "recursive: true changes the mounts below too.",
    file: detached,
    replace: "        flags |= AT_RECURSIVE;\n",
    with: "        flags |= 0;\n",
    run: attributes
  },
  %{
    name: "bind-source-in-root",
    promise: "A bind source that is named below the root stays inside it.",
    file: mount,
    replace: "        if let Some(inside) = below(path.to_bytes(), lookup.root.as_bytes()) {\n",
    with: "        if let Some(inside) = below(path.to_bytes(), b\"\") {\n",
    run: attributes
  },
  %{
    name: "remount-recursive",
    promise: "A bind remount with :rec reaches the mounts below.",
    file: "lib/linx/mount/request.ex",
    replace: "        [:remount, :bind] when recursive? ->\n",
    with: "        [:remount, :bind] when recursive? == nil ->\n",
    run: attributes
  },
  %{
    name: "mount-propagation",
    promise: "A new mount namespace is private.",
    file: "lib/linx/process/options.ex",
    replace: "@propagation[kind || :private]",
    with: "@propagation[kind || :unchanged]",
    run: propagation
  },
  %{
    name: "mount-propagation-chroot",
    promise: "The mounts are made private where the root is no mount point.",
    file: "c_src_replacement/src/propagation.rs",
    replace: "        Err(Errno::INVAL) => outside_chroot(|| mount_change(c\"/\", flags)),\n",
    with: "        Err(Errno::INVAL) => Ok(()),\n",
    run: propagation
  },
  %{
    name: "pool-waiting",
    promise: "Few of the VM's dirty threads wait for verbs that hang.",
    file: work,
    replace: "state.waiting >= MAX_WAITING",
    with: "state.waiting >= MAX_THREADS",
    run: hung
  },
  %{
    name: "pool-bound",
    promise: "The number of verbs at once in one place has an end.",
    file: work,
    replace: "self.running.values().filter(there).count() < most",
    with: "self.running.values().filter(there).count() < most.max(MAX_THREADS)",
    run: hung
  },
  %{
    name: "pool-abandon",
    promise: "The death of a verb's owner frees its place.",
    file: "native/linx_nif/src/work.rs",
    replace: "        POOL.abandon(self.0);\n",
    with: "        let _ = self.0;\n",
    run: hung
  },
  %{
    name: "cgroup-file-system",
    promise: "A directory that is on no cgroup2 file system is refused.",
    file: "lib/linx/cgroup/native.ex",
    replace: "if stand_in?(path), do: :ok, else: {:error, :not_cgroup2}",
    with: "if stand_in?(path), do: :ok, else: :ok",
    run: cgroups
  },
  %{
    name: "spawn-cgroup-file-system",
    promise: "spawn/1 names the stage of a :cgroup that is none.",
    file: "c_src_replacement/src/start.rs",
    replace: "        Ok(false) => Err(Stage::Cgroup.fault(libc::EXDEV)),\n",
    with: "        Ok(false) => Ok(directory),\n",
    run: propagation
  },
  %{
    name: "cgroup-destroy-waits",
    promise: "destroy/2 waits for the last process.",
    file: "native/linx_sys/src/cgroup.rs",
    replace: "        if !is_populated(&events)? {\n",
    with: "        if !is_populated(&events)? || limit > Duration::ZERO {\n",
    run: cgroups
  },
  %{
    name: "sysctl-list-form",
    promise: "A knob that dots do not lead back to is listed by its names.",
    file: "lib/linx/sysctl/key.ex",
    replace: "      _ -> String.split(path, \"/\")\n",
    with: "      _ -> key\n",
    run: sysctls
  },
  %{
    name: "reconcile-backoff",
    promise: "Two loops that disagree slow down.",
    file: "lib/linx/reconcile/contest.ex",
    replace: "delay: pause(most(applied) - @repetitions)",
    with: "delay: 0 * pause(most(applied) - @repetitions)",
    run: ["mix", "test", "test/linx/reconcile_test.exs"]
  }
]
