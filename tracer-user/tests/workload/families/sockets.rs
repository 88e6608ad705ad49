//! Addresses, options and messages of sockets.

use super::{
    Arg, address, bytes, call, every_bit, everywhere, hex, memory, named, names, num, quietly,
    read, say, words, zeroed,
};

/// Addresses of each family, to a descriptor that is none.
pub(super) fn addresses() {
    let long = format!("/tmp/{}", "long/".repeat(20));
    let cases: [(Vec<u8>, String); 11] = [
        (inet(80, [127, 0, 0, 1]), inet_text(80, "127.0.0.1")),
        (inet(65535, [255, 255, 255, 255]), inet_text(65535, "255.255.255.255")),
        (inet6(443, 7, 2), inet6_text(443, 7, 2)),
        (inet6(0, 0xf_ffff, u32::MAX), inet6_text(0, 0xf_ffff, u32::MAX)),
        (
            unix(b"/run/odd \"name\"\0"),
            r#"{sa_family=AF_UNIX, sun_path="/run/odd \"name\""}"#.to_owned(),
        ),
        (unix(b"\0abstract"), "{sa_family=AF_UNIX, sun_path=@\"abstract\"}".to_owned()),
        (unix(long.as_bytes()), format!("{{sa_family=AF_UNIX, sun_path=\"{long}\"}}")),
        (unix(b""), "{sa_family=AF_UNIX}".to_owned()),
        // struct sockaddr_nl of linux/netlink.h
        (
            [&[16, 0, 0, 0][..], &words(&[77, 0x8000_0001])].concat(),
            "{sa_family=AF_NETLINK, nl_pid=77, nl_groups=0x80000001}".to_owned(),
        ),
        // struct sockaddr_ll of linux/if_packet.h, with an address of Ethernet.
        (
            b"\x11\0\x08\0\x03\0\0\0\x01\0\x01\x06\x02\x42\xac\x11\0\x02\0\0".to_vec(),
            "{sa_family=AF_PACKET, sll_protocol=htons(ETH_P_IP), sll_ifindex=3, \
             sll_hatype=ARPHRD_ETHER, sll_pkttype=PACKET_BROADCAST, sll_halen=6, \
             sll_addr=[0x2, 0x42, 0xac, 0x11, 0, 0x2]}"
                .to_owned(),
        ),
        // struct sockaddr_vm of linux/vm_sockets.h
        (
            [&[40, 0, 0, 0][..], &words(&[1024, 2, 0])].concat(),
            "{sa_family=AF_VSOCK, svm_port=0x400, svm_cid=VMADDR_CID_HOST}".to_owned(),
        ),
    ];
    for (content, text) in &cases {
        let length = num(i64::try_from(content.len()).expect("short"));
        everywhere(
            "connect",
            libc::SYS_connect,
            &[num(-1), num(0), length.clone()],
            1,
            content,
            text,
        );
        let args = [num(-1), memory(content, text.as_str()), length];
        call("bind", libc::SYS_bind, &args);
    }
    returned();
}

fn inet(port: u16, octets: [u8; 4]) -> Vec<u8> {
    [&[2, 0][..], &port.to_be_bytes(), &octets, &[0; 8]].concat()
}

fn inet_text(port: u16, octets: &str) -> String {
    format!("{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr(\"{octets}\")}}")
}

/// Of `2001:db8::1`.
fn inet6(port: u16, flow: u32, scope: u32) -> Vec<u8> {
    let octets = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let numbers = [&port.to_be_bytes()[..], &flow.to_be_bytes()].concat();
    [&[10, 0][..], &numbers, &octets, &scope.to_ne_bytes()].concat()
}

fn inet6_text(port: u16, flow: u32, scope: u32) -> String {
    format!(
        "{{sa_family=AF_INET6, sin6_port=htons({port}), sin6_flowinfo=htonl({flow}), \
         inet_pton(AF_INET6, \"2001:db8::1\", &sin6_addr), sin6_scope_id={scope}}}"
    )
}

fn unix(path: &[u8]) -> Vec<u8> {
    [&[1, 0][..], path].concat()
}

/// What the kernel returns of a socket's address.
fn returned() {
    let inet_any = [
        named(libc::AF_INET, "AF_INET"),
        named(libc::SOCK_DGRAM, "SOCK_DGRAM"),
        named(0, "IPPROTO_IP"),
    ];
    let socket = call("socket", libc::SYS_socket, &inet_any);
    let place = inet(0, [127, 0, 0, 1]);
    let text = inet_text(0, "127.0.0.1");
    call("bind", libc::SYS_bind, &[num(socket), memory(&place, text), num(16)]);
    let (room, length) = (memory(&[0; 128], ""), memory(&words(&[128]), ""));
    let ret = quietly(libc::SYS_getsockname, &[num(socket), room.clone(), length.clone()]);
    let [_, _, high, low, ..]: [u8; 16] = read(&room);
    let text = inet_text(u16::from_be_bytes([high, low]), "127.0.0.1");
    let args = [num(socket), Arg(room.0, text), Arg(length.0, "[128 => 16]".to_owned())];
    say("getsockname", &args, ret);
}

/// Options that are numbers, times and structures.
pub(super) fn options() {
    let args = [named(libc::AF_UNIX, "AF_UNIX"), named(libc::SOCK_STREAM, "SOCK_STREAM"), num(0)];
    let pair = memory(&[0; 8], "");
    let ret = quietly(
        libc::SYS_socketpair,
        &[args[0].clone(), args[1].clone(), args[2].clone(), pair.clone()],
    );
    let [first, second]: [i32; 2] = read(&pair);
    let [family, kind, protocol] = args;
    let both = Arg(pair.0, format!("[{first}, {second}]"));
    say("socketpair", &[family, kind, protocol, both], ret);
    let level = named(libc::SOL_SOCKET, "SOL_SOCKET");
    let set = |option: i32, name: &str, content: &[u8], text: &str| {
        let args = [
            num(first),
            level.clone(),
            named(option, name),
            num(0),
            num(i64::try_from(content.len()).expect("short")),
        ];
        everywhere("setsockopt", libc::SYS_setsockopt, &args, 3, content, text);
    };
    set(libc::SO_PASSCRED, "SO_PASSCRED", &words(&[1]), "[1]");
    set(libc::SO_RCVBUF, "SO_RCVBUF", &words(&[u32::MAX]), "[-1]");
    set(libc::SO_LINGER, "SO_LINGER", &words(&[1, 30]), "{l_onoff=1, l_linger=30}");
    set(
        libc::SO_RCVTIMEO,
        "SO_RCVTIMEO_OLD",
        &super::wide(&[3, 500_000]),
        "{tv_sec=3, tv_usec=500000}",
    );
    set(
        libc::SO_SNDTIMEO,
        "SO_SNDTIMEO_OLD",
        &super::wide(&[u64::MAX, 1_000_000]),
        "{tv_sec=-1, tv_usec=1000000}",
    );
    let get = |option: i32, name: &str, room: u32, text: &str| {
        let args = [
            num(first),
            level.clone(),
            named(option, name),
            memory(&vec![0; room as usize], text),
            memory(&words(&[room]), format!("[{room}]")),
        ];
        call("getsockopt", libc::SYS_getsockopt, &args);
    };
    get(libc::SO_RCVTIMEO, "SO_RCVTIMEO_OLD", 16, "{tv_sec=3, tv_usec=500000}");
    get(libc::SO_LINGER, "SO_LINGER", 8, "{l_onoff=1, l_linger=30}");
    get(libc::SO_ERROR, "SO_ERROR", 4, "[0]");
    // SAFETY: they only return a number.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    let who = format!("{{pid={}, uid={uid}, gid={gid}}}", std::process::id());
    get(libc::SO_PEERCRED, "SO_PEERCRED", 12, &who);
}

/// Messages with names, descriptors and several parts, and every bit of their flags.
pub(super) fn messages() {
    let mut message: libc::msghdr = zeroed();
    let name = inet(53, [192, 0, 2, 1]);
    let parts = [memory(b"abc", ""), memory(b"defgh", "")];
    let array = [parts[0].0, 3, parts[1].0, 5];
    // CMSG_LEN of two descriptors; level and type of SCM_RIGHTS.
    let control = [&super::wide(&[24])[..], &words(&[1, 1, 7, 8])].concat();
    let [name, iov, control] = [name, super::wide(&array), control].map(|it| memory(&it, ""));
    let place =
        |arg: &Arg| std::ptr::with_exposed_provenance_mut(usize::try_from(arg.0).expect("64 bits"));
    message.msg_name = place(&name);
    message.msg_namelen = 16;
    message.msg_iov = place(&iov).cast();
    message.msg_iovlen = 2;
    message.msg_control = place(&control);
    message.msg_controllen = 24;
    message.msg_flags = libc::MSG_OOB;
    let text = format!(
        "{{msg_name={}, msg_namelen=16, msg_iov=[{{iov_base={:#x}, iov_len=3}}, \
         {{iov_base={:#x}, iov_len=5}}], msg_iovlen=2, msg_control=[{{cmsg_len=24, \
         cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[7, 8]}}], msg_controllen=24, \
         msg_flags=MSG_OOB}}",
        inet_text(53, "192.0.2.1"),
        parts[0].0,
        parts[1].0
    );
    let args = [num(-1), num(0), num(0)];
    everywhere("sendmsg", libc::SYS_sendmsg, &args, 1, &bytes(&message), &text);
    let names = names!(MSG_OOB MSG_PEEK MSG_DONTROUTE MSG_CTRUNC);
    let more = [
        ("MSG_PROBE", 0x10),
        ("MSG_TRUNC", 0x20),
        ("MSG_DONTWAIT", 0x40),
        ("MSG_EOR", 0x80),
        ("MSG_WAITALL", 0x100),
        ("MSG_FIN", 0x200),
        ("MSG_SYN", 0x400),
        ("MSG_CONFIRM", 0x800),
        ("MSG_RST", 0x1000),
        ("MSG_ERRQUEUE", 0x2000),
        ("MSG_NOSIGNAL", 0x4000),
        ("MSG_MORE", 0x8000),
        ("MSG_WAITFORONE", 0x1_0000),
        ("MSG_BATCH", 0x4_0000),
        ("MSG_ZEROCOPY", 0x400_0000),
        ("MSG_FASTOPEN", 0x2000_0000),
        ("MSG_CMSG_CLOEXEC", 0x4000_0000),
    ];
    let names = [&names[..], &more].concat();
    let buffer = address(0x1000);
    let args = [num(-1), buffer, num(5), hex(0), address(0), num(0)];
    every_bit("sendto", libc::SYS_sendto, &args, 3, &names, "MSG");
}
