//! A real container: Debian's runc joins the namespace we made, and busybox serves a page from it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{HOST, destroy, lab, publish, within};
use dockerd_rs_network::Protocol::Tcp;
use dockerd_rs_network::{Alive, files};

const PAGE: &str = "served from a container";

/// A container of runc, killed and deleted when dropped.
struct Running {
    child: Child,
    root: String,
    id: String,
}

impl Running {
    fn start(dir: &Path, netns: &Path, address: Ipv4Addr) -> Self {
        let rootfs = dir.join("rootfs");
        for sub in ["bin", "etc", "proc", "www"] {
            std::fs::create_dir_all(rootfs.join(sub)).unwrap();
        }
        std::fs::copy("/bin/busybox", rootfs.join("bin/busybox")).expect("busybox-static is needed");
        std::fs::write(rootfs.join("www/index.html"), PAGE).unwrap();
        std::fs::write(
            rootfs.join("etc/hosts"),
            files::hosts("web", "", &[address.into()], &[]),
        )
        .unwrap();
        let config = serde_json::json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": { "uid": 0, "gid": 0 },
                "args": ["/bin/busybox", "httpd", "-f", "-p", "8000", "-h", "/www"],
                "cwd": "/",
            },
            "root": { "path": "rootfs", "readonly": true },
            "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
            "linux": { "namespaces": [
                { "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "network", "path": netns },
            ]},
        });
        std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
        let (root, id) = (
            dir.join("runc").display().to_string(),
            format!("net-{}", std::process::id()),
        );
        let bundle = dir.display().to_string();
        let mut command = Command::new("runc");
        command
            .args(["--root", &root, "run", "--bundle", &bundle, &id])
            .stdin(Stdio::null());
        let child = command.spawn().expect("runc is needed");
        Self { child, root, id }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let delete = ["--root", &self.root, "delete", "--force", &self.id];
        let _ = Command::new("runc").args(delete).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}

fn fetch(to: Ipv4Addr, port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((to, port))?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_container_of_runc_serves_through_our_network_and_a_restart() {
    lab(|lab| {
        let controller = lab.open();
        let web = lab.start(&controller, "web", &[publish("", 8080, 8000, Tcp)]);
        let running = Running::start(lab.dir.path(), &web.netns, web.ip());
        // Refused until busybox listens.
        let page = (0..500).find_map(|_| {
            let page = fetch(Ipv4Addr::LOCALHOST, 8080).ok().filter(|page| !page.is_empty());
            page.or_else(|| {
                std::thread::sleep(std::time::Duration::from_millis(20));
                None
            })
        });
        assert!(page.expect("no answer from 127.0.0.1:8080").ends_with(PAGE));
        assert!(within(&lab.client, || fetch(HOST, 8080)).unwrap().ends_with(PAGE));
        drop(controller);
        assert!(
            within(&lab.client, || fetch(HOST, 8080)).unwrap().ends_with(PAGE),
            "without the daemon"
        );
        let controller = lab.open();
        let restored = controller.restore(&[Alive {
            container_id: "web".to_owned(),
        }]);
        assert!(restored.failures.is_empty() && restored.kept.len() == 1, "{restored:?}");
        assert!(within(&lab.client, || fetch(HOST, 8080)).unwrap().ends_with(PAGE));
        drop(running);
        web.stop(&controller);
        destroy(controller);
    });
}
