//! Paths of cgroups as they are found on real hosts, and what is to be read from them.

use super::*;
use proptest::prelude::*;

const A: &str = "5f2d3b1c8e9a47760fb1a2c3d4e5f60718293a4b5c6d7e8f9012345678abcdef";
const B: &str = "00aa11bb22cc33dd44ee55ff66007711882299330044aa55bb66cc77dd88ee99";
const UID: &str = "8f1c4d2e-6a7b-4c3d-9e0f-112233445566";
/// The same in the name of a unit.
const UNIT_UID: &str = "8f1c4d2e_6a7b_4c3d_9e0f_112233445566";
const STATIC: &str = "3b6c1f0a9d8e7c5b4a3f2e1d0c9b8a79";

/// What is expected of a path: runtime, id or name, pod, unit.
struct Row(&'static str, Option<Runtime>, &'static str, Option<Qos>, &'static str);

use Runtime::{Containerd, CriO, Docker, Lxc, Nspawn, Podman};
const GUARANTEED: Option<Qos> = Some(Qos::Guaranteed);
const BURSTABLE: Option<Qos> = Some(Qos::Burstable);
const BEST_EFFORT: Option<Qos> = Some(Qos::BestEffort);

/// `A`, `B` stand for ids, `U`, `V`, `S` for the uid of a pod, as a unit, and of a static pod.
const TABLE: &[Row] = &[
    // Docker: cgroupfs and systemd drivers, a parent of one's own, rootless, init inside.
    Row("/docker/A", Some(Docker), "A", None, ""),
    Row("/system.slice/docker-A.scope", Some(Docker), "A", None, "docker-A.scope"),
    Row("/batch.slice/docker-A.scope", Some(Docker), "A", None, "docker-A.scope"),
    Row("/docker/A/init", Some(Docker), "A", None, ""),
    Row("/docker/A/system.slice/nginx.service", Some(Docker), "A", None, "nginx.service"),
    Row(
        "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-A.scope",
        Some(Docker),
        "A",
        None,
        "docker-A.scope",
    ),
    Row("/actions_job/A", None, "A", None, ""),
    Row("/ecs/3b6c1f0a9d8e7c5b4a3f2e1d0c9b8a79/A", None, "A", None, ""),
    Row("/docker/buildkit/x3hpk0xr8ntdlmfe7r24dbkbr", None, "", None, ""),
    // Docker in Docker: the inner one.
    Row("/docker/A/docker/B", Some(Docker), "B", None, ""),
    Row("/system.slice/docker-A.scope/docker/B", Some(Docker), "B", None, "docker-A.scope"),
    // containerd without Kubernetes.
    Row("/default/A", Some(Containerd), "A", None, ""),
    Row("/moby/A", Some(Docker), "A", None, ""),
    Row("/system.slice/nerdctl-A.scope", Some(Containerd), "A", None, "nerdctl-A.scope"),
    Row("/system.slice/runc-A.scope", None, "A", None, "runc-A.scope"),
    // Kubernetes, systemd driver, each class.
    Row(
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podV.slice/cri-containerd-A.scope",
        Some(Containerd),
        "A",
        BURSTABLE,
        "cri-containerd-A.scope",
    ),
    Row(
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podV.slice/crio-A.scope",
        Some(CriO),
        "A",
        BEST_EFFORT,
        "crio-A.scope",
    ),
    Row(
        "/kubepods.slice/kubepods-podV.slice/crio-A.scope/container",
        Some(CriO),
        "A",
        GUARANTEED,
        "crio-A.scope",
    ),
    Row(
        "/kubepods.slice/kubepods-podV.slice/docker-A.scope",
        Some(Docker),
        "A",
        GUARANTEED,
        "docker-A.scope",
    ),
    // Kubernetes, cgroupfs driver.
    Row("/kubepods/burstable/podU/A", None, "A", BURSTABLE, ""),
    Row("/kubepods/besteffort/podU/crio-A", Some(CriO), "A", BEST_EFFORT, ""),
    Row("/kubepods/podU/A", None, "A", GUARANTEED, ""),
    Row("/kubepods/burstable/podS/A", None, "A", BURSTABLE, ""),
    Row("/kubepods/burstable/podU", None, "", BURSTABLE, ""),
    // A driver that the runtime does not share with the kubelet.
    Row(
        "/system.slice/containerd.service/kubepods-burstable-podV.slice:cri-containerd:A",
        Some(Containerd),
        "A",
        BURSTABLE,
        "containerd.service",
    ),
    // kind: nodes are Docker's containers.
    Row(
        "/docker/B/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podV.slice/cri-containerd-A.scope",
        Some(Containerd),
        "A",
        BURSTABLE,
        "cri-containerd-A.scope",
    ),
    Row("/docker/B/kubelet/kubepods/besteffort/podU/A", None, "A", BEST_EFFORT, ""),
    Row("/docker/B/kubelet.slice/kubelet.service", Some(Docker), "B", None, "kubelet.service"),
    // From inside a cgroup namespace.
    Row("/../cri-containerd-A.scope", Some(Containerd), "A", None, "cri-containerd-A.scope"),
    Row("/../../podU/A", None, "A", None, ""),
    // CRI-O's and Podman's monitors are outside.
    Row(
        "/kubepods.slice/kubepods-podV.slice/crio-conmon-A.scope",
        None,
        "",
        GUARANTEED,
        "crio-conmon-A.scope",
    ),
    Row("/machine.slice/libpod-conmon-A.scope", None, "", None, "libpod-conmon-A.scope"),
    // Podman: root, rootless, in a pod, with cgroupfs.
    Row("/machine.slice/libpod-A.scope/container", Some(Podman), "A", None, "libpod-A.scope"),
    Row(
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-A.scope/container",
        Some(Podman),
        "A",
        None,
        "libpod-A.scope",
    ),
    Row(
        "/machine.slice/machine-libpod_pod_B.slice/libpod-A.scope",
        Some(Podman),
        "A",
        None,
        "libpod-A.scope",
    ),
    Row("/libpod_parent/B/libpod-A", Some(Podman), "A", None, ""),
    Row("/libpod_parent/libpod-A", Some(Podman), "A", None, ""),
    // Names instead of ids.
    Row(
        "/machine.slice/systemd-nspawn@build.service/payload/system.slice/cron.service",
        Some(Nspawn),
        "build",
        None,
        "cron.service",
    ),
    Row(
        "/machine.slice/systemd-nspawn@build.service/supervisor",
        None,
        "",
        None,
        "systemd-nspawn@build.service",
    ),
    Row(
        "/machine.slice/machine-my\\x2dbox.scope/payload",
        Some(Nspawn),
        "my-box",
        None,
        "machine-my\\x2dbox.scope",
    ),
    Row(
        "/machine.slice/machine-qemu\\x2d3\\x2dvm.scope/libvirt/emulator",
        None,
        "",
        None,
        "machine-qemu\\x2d3\\x2dvm.scope",
    ),
    Row("/lxc/web1", Some(Lxc), "web1", None, ""),
    Row("/lxc/101/ns/system.slice/ssh.service", Some(Lxc), "101", None, "ssh.service"),
    Row("/lxc.payload.web1/init.scope", Some(Lxc), "web1", None, "init.scope"),
    Row("/lxc.payload/web1", Some(Lxc), "web1", None, ""),
    Row("/lxc.monitor.web1", None, "", None, ""),
    Row("/lxc.payload.c1/docker/A", Some(Docker), "A", None, ""),
    // No container.
    Row("/", None, "", None, ""),
    Row("/init.scope", None, "", None, "init.scope"),
    Row("/system.slice/ssh.service", None, "", None, "ssh.service"),
    Row(
        "/system.slice/system-getty.slice/getty@tty1.service",
        None,
        "",
        None,
        "getty@tty1.service",
    ),
    Row(
        "/system.slice/dbus-:1.2-org.freedesktop.problems@0.service",
        None,
        "",
        None,
        "dbus-:1.2-org.freedesktop.problems@0.service",
    ),
    Row("/user.slice/user-1000.slice/session-2.scope", None, "", None, "session-2.scope"),
    Row(
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-editor-99.scope",
        None,
        "",
        None,
        "app-editor-99.scope",
    ),
    Row("/user.slice/user-0.slice", None, "", None, "user-0.slice"),
    Row("/system.slice/docker-A.scope (deleted)", Some(Docker), "A", None, "docker-A.scope"),
    // What only looks like one.
    Row("/system.slice/docker.service", None, "", None, "docker.service"),
    Row("/docker/3b6c1f0a9d8e", None, "", None, ""),
    Row("/system.slice/run-u12.service", None, "", None, "run-u12.service"),
];

/// Puts ids and uids in.
fn filled(text: &str) -> String {
    let mut out = String::new();
    let mut before = '/';
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let ends = chars.peek().is_none_or(|next| "/. ".contains(*next));
        let is_place = ends && ("/-_:d".contains(before));
        match c {
            'A' if is_place => out.push_str(A),
            'B' if is_place => out.push_str(B),
            'U' if is_place => out.push_str(UID),
            'V' if is_place => out.push_str(UNIT_UID),
            'S' if is_place => out.push_str(STATIC),
            c => out.push(c),
        }
        before = c;
    }
    out
}

fn id_of(letter: &str) -> Option<&str> {
    match letter {
        "A" => Some(A),
        "B" => Some(B),
        _ => None,
    }
}

#[test]
fn paths_of_every_runtime() {
    for Row(path, runtime, id, qos, unit) in TABLE {
        let found = Workload::of_path(&filled(path));
        assert_eq!(found.runtime, *runtime, "{path}");
        assert_eq!(found.qos, *qos, "{path}");
        assert_eq!(found.container_id.as_deref(), id_of(id), "{path}");
        let name = Some(*id).filter(|id| !id.is_empty() && id_of(id).is_none());
        assert_eq!(found.container_name.as_deref(), name, "{path}");
        let uid = qos.map(|_| if path.contains("podS") { STATIC } else { UID });
        assert_eq!(found.pod_uid.as_deref(), uid, "{path}");
        assert_eq!(found.unit.as_deref().unwrap_or_default(), filled(unit), "{path}");
    }
    assert!(TABLE.len() > 50, "{}", TABLE.len());
}

#[test]
fn all_lines_of_a_process_are_looked_at() {
    // Version 1 alone, as Docker makes it.
    let version1 = "12:pids:/docker/A\n3:cpu,cpuacct:/docker/A\n1:name=systemd:/docker/A\n";
    // Both: version 2 knows nothing of the container.
    let hybrid =
        "4:memory:/docker/A\n1:name=systemd:/docker/A\n0::/system.slice/containerd.service\n";
    let at_root = "9:name=systemd:/\n4:memory:/kubepods/burstable/podU/A\n0::/\n";
    let version2 = "0::/system.slice/docker-A.scope\n";
    for text in [version1, hybrid, at_root, version2] {
        let text: String = text.lines().map(|line| filled(line) + "\n").collect();
        let found = Workload::of_proc(&text);
        assert_eq!(found.container_id.as_deref(), Some(A), "{text}");
    }
    let plain = "2:cpu:/\n1:name=systemd:/system.slice/ssh.service\n0::/\n";
    assert_eq!(Workload::of_proc(plain).unit.as_deref(), Some("ssh.service"));
    let both = "1:name=systemd:/system.slice/old.service\n0::/system.slice/new.service\n";
    assert_eq!(Workload::of_proc(both).unit.as_deref(), Some("new.service"));
    for nothing in ["", "0::/\n", "garbage", "::", "1:name=systemd"] {
        assert_eq!(Workload::of_proc(nothing), Workload::default(), "{nothing}");
    }
}

/// Pieces that paths are made of, and any others.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9a-f]{62,66}",
        "[0-9a-fA-F_-]{30,40}",
        prop::sample::select(vec![
            "docker-",
            "libpod-",
            ".scope",
            ".slice",
            "kubepods",
            "pod",
            "-pod",
            "lxc.payload.",
            "machine.slice",
            "machine-",
            "systemd-nspawn@",
            ".service",
            "\\x2d",
            "\\x",
            ":",
            "burstable",
            "lxc",
            " (deleted)",
            "supervisor",
        ])
        .prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn any_text_is_read(pieces in prop::collection::vec((piece(), any::<bool>()), 0..8)) {
        let texts = pieces.iter().flat_map(|(piece, slash)| [piece.as_str(), if *slash { "/" } else { "" }]);
        let text: String = texts.collect();
        for found in [Workload::of_path(&text), Workload::of_proc(&text)] {
            if let Some(id) = &found.container_id {
                prop_assert!(id.len() == 64 && id.bytes().all(|it| it.is_ascii_hexdigit()));
                prop_assert!(text.contains(&**id));
                prop_assert_eq!(&found.container_name, &None);
            }
            if let Some(uid) = &found.pod_uid {
                prop_assert!(matches!(uid.len(), 32 | 36), "{}", uid);
            }
            prop_assert!(found.runtime.is_none() || found.has_container());
            prop_assert_eq!(found.pod_uid.is_some(), found.qos.is_some());
        }
    }
}
