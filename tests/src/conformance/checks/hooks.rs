//! config.md: the six hooks, and runtime.md: what follows when one fails.

use std::fs;

use serde_json::{Value, json};

use super::namespace;
use crate::conformance::bundle::Bundle;
use crate::conformance::trial::{Done, Stop, Trial};

/// The hooks in the order in which they are called.
const ORDER: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// The name of a hook in ids.
fn name_in_ids(hook: &str) -> &'static str {
    match hook {
        "prestart" => "prestart",
        "createRuntime" => "create-runtime",
        "createContainer" => "create-container",
        "startContainer" => "start-container",
        "poststart" => "poststart",
        _ => "poststop",
    }
}

/// A hook that is a shell script. In a container's own root the shell is `/bin/sh`; elsewhere it is the busybox of the root filesystem by its host path.
fn script(bundle: &Bundle, hook: &str, text: &str) -> Value {
    if hook == "startContainer" {
        return json!({"path": "/bin/sh", "args": ["sh", "-c", text], "env": ["PATH=/bin", "GIVEN=yes"]});
    }
    let shell = bundle.rootfs().join("bin/busybox");
    json!({"path": shell, "args": ["sh", "-c", text], "env": ["PATH=/bin", "GIVEN=yes"]})
}

/// A script that leaves its state, its namespaces and a line in the trace. `at` is where the bundle's `trace` directory is for it.
fn witness(at: &str, label: &str) -> String {
    format!(
        "busybox cat >{at}/{label}.state; busybox readlink /proc/self/ns/mnt >{at}/{label}.mnt; \
         busybox readlink /proc/self/ns/uts >{at}/{label}.uts; busybox pwd >{at}/{label}.cwd; \
         echo $GIVEN >{at}/{label}.env; [ -e {at}/program ] && echo ran >{at}/{label}.after; echo {label} >>{at}/trace"
    )
}

/// A bundle whose `trace` directory is `/trace` in the container too, with each hook twice.
fn traced<'a>(t: &Trial<'a>) -> Result<Bundle<'a>, Stop> {
    let mut bundle = t.bundle();
    let trace = bundle.dir.join("trace");
    fs::create_dir(&trace)?;
    // A runtime is free to give hooks no PATH but theirs: everything is called through the shell's own directory.
    fs::write(trace.join("trace"), "")?;
    let host = trace.display().to_string();
    bundle.mount("/trace", "bind", &host, &["rbind", "rw"]);
    for hook in ORDER {
        let at = if hook == "startContainer" {
            "/trace"
        } else {
            host.as_str()
        };
        for label in [hook.to_owned(), format!("{hook}2")] {
            let text = witness(at, &label).replace("busybox ", &busybox(&bundle, hook));
            let entry = script(&bundle, hook, &text);
            bundle.push(&format!("/hooks/{hook}"), entry);
        }
    }
    bundle.set("/annotations", json!({"org.example.hook": "told"}));
    bundle.script("echo ran >/trace/program; while :; do sleep 1; done");
    Ok(bundle)
}

/// How a hook's script calls busybox.
fn busybox(bundle: &Bundle, hook: &str) -> String {
    match hook {
        "startContainer" => "/bin/busybox ".to_owned(),
        _ => format!("{} ", bundle.rootfs().join("bin/busybox").display()),
    }
}

fn trace(bundle: &Bundle) -> Vec<String> {
    let text = fs::read_to_string(bundle.dir.join("trace/trace")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn left(bundle: &Bundle, file: &str) -> String {
    let text = fs::read_to_string(bundle.dir.join("trace").join(file)).unwrap_or_default();
    text.trim().to_owned()
}

/// A whole life with two hooks of each kind: when, where and with what they are called.
pub fn all_six(t: &mut Trial) -> Done {
    let bundle = traced(t)?;
    bundle.created()?;
    let pid = bundle.pid()?;
    let (mnt, uts) = (namespace(pid, "mnt"), namespace(pid, "uts"));
    let at_create = trace(&bundle);
    bundle.start().ok()?;
    let at_start = trace(&bundle);
    crate::conformance::bundle::wait("the program", || Ok(bundle.dir.join("trace/program").exists()))?;
    bundle.stop()?;
    bundle.delete().ok()?;
    let at_end = trace(&bundle);

    let of =
        |hooks: &[&str]| -> Vec<String> { hooks.iter().flat_map(|h| [(*h).to_owned(), format!("{h}2")]).collect() };
    for hook in ORDER {
        let (called, second) = (at_end.iter().any(|l| l == hook), at_end.contains(&format!("{hook}2")));
        t.must(
            format!("runtime.lifecycle.{}", name_in_ids(hook)),
            called && second,
            &at_end,
        );
    }
    t.same("config.hooks.order", &at_end, &of(&ORDER));
    for hook in ["prestart", "create-runtime", "create-container"] {
        t.same(format!("config.hooks.{hook}.when"), &at_create, &of(&ORDER[..3]));
    }
    t.same("config.hooks.prestart.first", &at_create, &of(&ORDER[..3]));
    t.same("config.hooks.create-container.after", &at_create, &of(&ORDER[..3]));
    let started = at_start.get(6..8) == Some(&of(&ORDER[3..4])[..]);
    let early = left(&bundle, "startContainer.after").is_empty();
    t.must("config.hooks.start-container.when", started && early, &at_start);
    t.must("config.hooks.poststart.when", at_start.len() == 10, &at_start);
    t.must("config.hooks.poststop.when", at_end.len() == 12, &at_end);
    for hook in ORDER {
        places(t, &bundle, hook, &mnt, &uts);
        states(t, &bundle, hook, pid);
        t.same("config.hooks.env", left(&bundle, &format!("{hook}.env")), "yes");
    }
    Ok(())
}

/// The namespace of the runtime or that of the container.
fn places(t: &mut Trial, bundle: &Bundle, hook: &str, mnt: &str, uts: &str) {
    let within = matches!(hook, "createContainer" | "startContainer");
    let (own_mnt, own_uts) = (namespace("self", "mnt"), namespace("self", "uts"));
    let seen = (
        left(bundle, &format!("{hook}.mnt")),
        left(bundle, &format!("{hook}.uts")),
    );
    let id = format!("config.hooks.{}.executed", name_in_ids(hook));
    // An ordinary user's runtime is in a user and mount namespace of its own.
    let runtime = seen.1 == own_uts && (seen.0 == own_mnt || bundle.subject.place.rootless);
    let holds = if within {
        seen.0 == mnt && seen.1 == uts
    } else {
        runtime
    };
    t.must(
        id,
        holds,
        format_args!("{seen:?}; the container: {mnt} {uts}; the runtime: {own_mnt} {own_uts}"),
    );
    // It could only run because its path was found there: busybox by its host path, or the container's /bin/sh.
    let id = format!("config.hooks.{}.path", name_in_ids(hook));
    t.must(id, !seen.0.is_empty(), "it left nothing");
}

/// The state on standard input.
fn states(t: &mut Trial, bundle: &Bundle, hook: &str, pid: u64) {
    let text = left(bundle, &format!("{hook}.state"));
    let state: Value = serde_json::from_str(&text).unwrap_or_default();
    let status = match hook {
        "prestart" | "createRuntime" | "createContainer" => "creating",
        "startContainer" => "created",
        "poststart" => "running",
        _ => "stopped",
    };
    let seen = (
        &state["id"],
        &state["annotations"]["org.example.hook"],
        &state["bundle"],
    );
    let holds = seen == (&json!(bundle.id), &json!("told"), &json!(bundle.dir));
    t.must("config.hooks.state", holds, format_args!("{hook}: {text}"));
    t.must(
        "config.hooks.state-status",
        state["status"] == status,
        format_args!("{hook}: {text}"),
    );
    if matches!(hook, "createRuntime" | "poststart") {
        t.must(
            "config.hooks.state-pid",
            state["pid"] == pid,
            format_args!("{hook}: {text}"),
        );
    }
}

/// A bundle with one hook that fails, one of the same kind behind it, and a poststop hook.
fn with_failing<'a>(t: &Trial<'a>, hook: &str) -> Result<Bundle<'a>, Stop> {
    let mut bundle = traced(t)?;
    bundle.set("/hooks", json!({}));
    let host = bundle.dir.join("trace").display().to_string();
    let at = if hook == "startContainer" {
        "/trace"
    } else {
        host.as_str()
    };
    let entry = script(&bundle, hook, &format!("echo failing >>{at}/trace; exit 7"));
    bundle.push(&format!("/hooks/{hook}"), entry);
    let entry = script(&bundle, hook, &format!("echo next >>{at}/trace"));
    bundle.push(&format!("/hooks/{hook}"), entry);
    Ok(bundle)
}

fn failing_in_create(t: &mut Trial, hook: &str) -> Done {
    let id = format!("runtime.lifecycle.{}-fails", name_in_ids(hook));
    let bundle = with_failing(t, hook)?;
    let said = bundle.create();
    t.refused(&id, &said);
    t.same(&id, trace(&bundle), vec!["failing".to_owned()]);
    t.must(
        &id,
        bundle.call(&["state", &bundle.id]).refused(),
        "the container is there",
    );
    t.must(
        &id,
        super::cgroups_named(&bundle.id).is_empty(),
        "its cgroups are there",
    );
    Ok(())
}

/// prestart.
pub fn failing_prestart(t: &mut Trial) -> Done {
    failing_in_create(t, "prestart")
}

/// createRuntime.
pub fn failing_create_runtime(t: &mut Trial) -> Done {
    failing_in_create(t, "createRuntime")
}

/// createContainer.
pub fn failing_create_container(t: &mut Trial) -> Done {
    failing_in_create(t, "createContainer")
}

/// startContainer: the program never runs, and the container is not alive.
pub fn failing_start_container(t: &mut Trial) -> Done {
    let id = "runtime.lifecycle.start-container-fails";
    let bundle = with_failing(t, "startContainer")?;
    bundle.created()?;
    t.refused(id, &bundle.start());
    t.must(id, !bundle.dir.join("trace/program").exists(), "the program ran");
    dead(t, id, &bundle)
}

/// poststart: the program has run by then; the container is stopped.
pub fn failing_poststart(t: &mut Trial) -> Done {
    let id = "runtime.lifecycle.poststart-fails";
    let bundle = with_failing(t, "poststart")?;
    bundle.created()?;
    t.refused(id, &bundle.start());
    dead(t, id, &bundle)
}

/// The container is gone, or on its way to `stopped`.
fn dead(t: &mut Trial, id: &str, bundle: &Bundle) -> Done {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(3);
    let alive = || bundle.status().is_ok_and(|status| status != "stopped");
    while alive() && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    t.must(id, !alive(), "the container is alive");
    Ok(())
}

/// poststop: `delete` goes on, the next hook is called, and the container is gone.
pub fn failing_poststop(t: &mut Trial) -> Done {
    let bundle = with_failing(t, "poststop")?;
    bundle.started()?;
    bundle.stop()?;
    let said = bundle.delete();
    for id in ["runtime.lifecycle.poststop-fails", "runtime.warnings.go-on"] {
        t.must(
            id,
            bundle.call(&["state", &bundle.id]).refused(),
            format_args!("not deleted: {said:?}"),
        );
        t.same(id, trace(&bundle), vec!["failing".to_owned(), "next".to_owned()]);
    }
    t.must("runtime.lifecycle.poststop-fails", said.went_well(), &said);
    Ok(())
}

/// Hooks that no runtime may accept: a relative path, and a time limit of nothing.
pub fn invalid(t: &mut Trial) -> Done {
    let mut relative = t.bundle();
    relative.script("true");
    relative.set(
        "/hooks",
        json!({"createRuntime": [{"path": "bin/busybox", "args": ["true"]}]}),
    );
    t.refused("config.hooks.path-absolute", &relative.create());
    for timeout in [0, -1] {
        let mut bundle = t.bundle();
        bundle.script("true");
        let mut hook = script(&bundle, "createRuntime", "exit 0");
        hook["timeout"] = json!(timeout);
        bundle.push("/hooks/createRuntime", hook);
        let said = bundle.create();
        t.must(
            "config.hooks.timeout-positive",
            said.refused(),
            format_args!("{timeout}: {said:?}"),
        );
    }
    Ok(())
}

/// A hook that takes longer than it may is ended, which is a failure.
pub fn timeout(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.script("true");
    let mut hook = script(&bundle, "createRuntime", "while :; do :; done");
    hook["timeout"] = json!(1);
    bundle.push("/hooks/createRuntime", hook);
    t.refused("config.hooks.timeout", &bundle.create());
    Ok(())
}
