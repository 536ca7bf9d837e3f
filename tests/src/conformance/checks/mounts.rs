//! config.md: mounts.

use std::fs;
use std::os::unix::fs::chown;

use serde_json::json;

use crate::conformance::trial::{Done, Trial, elsewhere};

/// The second mount at one place hides the first, and a mount below another one is not hidden by it.
pub fn order(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.mount("/mnt", "tmpfs", "first", &["size=64k"]);
    bundle.mount("/mnt", "tmpfs", "second", &["size=128k"]);
    bundle.mount("/mnt/below", "tmpfs", "third", &["size=256k"]);
    let said = bundle.tell("busybox stat -f -c '%b %S' /mnt /mnt/below")?;
    let sizes: Vec<&str> = said.lines().collect();
    t.same("config.mounts.order", sizes, vec!["32 4096", "64 4096"]);
    Ok(())
}

/// `mnt` is `/mnt`, whatever the working directory.
pub fn relative_destination(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.set("/process/cwd", json!("/tmp"));
    bundle.mount("mnt/here", "tmpfs", "here", &["size=64k"]);
    let said = bundle.tell("busybox grep '^here' /proc/mounts")?;
    t.must("config.mounts.relative", said.starts_with("here /mnt/here tmpfs"), said);
    Ok(())
}

/// A source by its absolute path, and one relative to the bundle; a directory and a file.
pub fn sources(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    fs::create_dir(bundle.dir.join("data"))?;
    fs::write(bundle.dir.join("data/file"), "of the bundle")?;
    let absolute = bundle.dir.join("data").display().to_string();
    bundle.mount("/mnt/a", "bind", &absolute, &["bind"]);
    bundle.mount("/mnt/b", "bind", "data", &["bind"]);
    bundle.mount("/mnt/c", "bind", "data/file", &["bind"]);
    let said = bundle.tell("cat /mnt/a/file /mnt/b/file /mnt/c")?;
    t.same("config.mounts.source", said, "of the bundle".repeat(3));
    Ok(())
}

/// Each type is the kernel's; of a bind mount the type is a dummy; what is no option of ours is the filesystem's.
pub fn types(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    fs::create_dir(bundle.dir.join("data"))?;
    bundle.mount("/mnt/t", "tmpfs", "t", &["size=64k", "mode=1700", "nr_inodes=7"]);
    bundle.mount("/mnt/p", "devpts", "p", &["newinstance"]);
    bundle.mount("/mnt/q", "mqueue", "q", &[]);
    bundle.mount("/mnt/b", "none", "data", &["rbind"]);
    let said = bundle.tell("busybox grep -E ' /mnt/[tpqb] ' /proc/mounts; busybox stat -c %a /mnt/t")?;
    let kinds: Vec<&str> = said.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    t.must(
        "config.mounts.type",
        kinds.starts_with(&["tmpfs", "devpts", "mqueue"]),
        &said,
    );
    t.same("config.mounts.type", kinds.len(), 4);
    let data = ["size=64k", "nr_inodes=7"].iter().all(|option| said.contains(option));
    t.must("config.mounts.data", data && said.ends_with("1700\n"), &said);
    let mut invalid = t.bundle();
    invalid.script("true");
    invalid.mount("/mnt/t", "tmpfs", "t", &["nosuchoption"]);
    t.refused("config.mounts.data", &invalid.create());
    Ok(())
}

/// A bind mount that is seen through a mapping of its own.
pub fn idmap(t: &mut Trial) -> Done {
    let id = "config.mounts.idmap";
    if t.subject.place.rootless {
        return elsewhere("an ordinary user can't map a mount of a filesystem that is not their own");
    }
    if t.subject.place.kernel < (6, 3) {
        return elsewhere("the guest's kernel can't map its filesystems' mounts");
    }
    for (option, at) in [("idmap", "/mnt/i"), ("ridmap", "/mnt/r")] {
        let mut bundle = t.bundle();
        fs::create_dir(bundle.dir.join("data"))?;
        fs::write(bundle.dir.join("data/file"), "")?;
        chown(bundle.dir.join("data/file"), Some(1000), Some(1001))?;
        let map = |from: u32| json!([{"containerID": from, "hostID": 5000 + from, "size": 1}]);
        bundle.push(
            "/mounts",
            json!({"destination": at, "type": "bind", "source": bundle.dir.join("data"), "options": ["rbind", option],
                   "uidMappings": map(1000), "gidMappings": map(1001)}),
        );
        // What the disk has as 1000 is seen as the mapping's other side.
        let said = bundle.tell(&format!("busybox stat -c '%u %g' {at}/file"))?;
        t.same(id, said.trim(), "6000 6001");
    }
    Ok(())
}

/// Mappings that do not say what is to be done.
pub fn idmap_invalid(t: &mut Trial) -> Done {
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 1}]);
    for one in ["uidMappings", "gidMappings"] {
        let mut bundle = t.bundle();
        bundle.script("true");
        fs::create_dir(bundle.dir.join("data"))?;
        let mut mount =
            json!({"destination": "/mnt/i", "type": "bind", "source": "data", "options": ["rbind", "idmap"]});
        mount[one] = map.clone();
        bundle.push("/mounts", mount);
        t.refused("config.mounts.mappings-both", &bundle.create());
    }
    if t.subject.place.rootless {
        t.elsewhere(
            "config.mounts.idmap-nothing",
            "an ordinary user's container has a user namespace",
        );
        return Ok(());
    }
    let mut bundle = t.bundle();
    bundle.script("true");
    fs::create_dir(bundle.dir.join("data"))?;
    bundle.mount("/mnt/i", "bind", "data", &["rbind", "idmap"]);
    t.refused("config.mounts.idmap-nothing", &bundle.create());
    Ok(())
}
