//! bundle.md, glossary.md, runtime.md and runtime-linux.md.

use crate::conformance::must::Must;
use crate::must;

/// Why sentences that bind who writes a configuration have no test.
pub(super) const AUTHOR: &str = "binds who writes the configuration; a runtime can't break it";

/// The table.
#[rustfmt::skip]
pub(super) const MUSTS: &[Must] = &[
    must!("bundle.config-json", "bundle.md#container-format", "the configuration is the file config.json in the bundle's own directory", bundle::config_json),
    must!("bundle.local", "bundle.md#container-format", "the artifacts of a bundle are on the local file system", not AUTHOR),
    must!("glossary.utf8", "glossary.md#json", "the configuration is UTF-8, and arrives as such", bundle::utf8),
    must!("glossary.no-duplicates", "glossary.md#json", "no object of the configuration has a name twice", not AUTHOR),

    must!("runtime.scope", "runtime.md#scope-of-a-container", "who creates a container can use every operation on it", lifecycle::whole_life),
    must!("runtime.state.oci-version", "runtime.md#state", "the state has the version of the specification that it follows", state::complete),
    must!("runtime.state.id", "runtime.md#state", "the state has the container's id", state::complete),
    must!("runtime.state.id-unique", "runtime.md#state", "an id belongs to one container at a time", state::id_is_taken),
    must!("runtime.state.status", "runtime.md#state", "the state has the status: created, running, stopped", state::complete),
    must!("runtime.state.status-other", "runtime.md#state", "other values of status only for states that the specification does not know", state::complete),
    must!("runtime.state.pid", "runtime.md#state", "the state has the process's id as the host sees it, while created and running", state::complete),
    must!("runtime.state.bundle", "runtime.md#state", "the state has the absolute path of the bundle", state::complete),
    must!("runtime.state.annotations", "runtime.md#state", "the state has the annotations", state::complete),
    must!("runtime.state.schema", "runtime.md#state", "the state as JSON has the types of the schema", state::complete),

    must!("runtime.lifecycle.environment", "runtime.md#lifecycle", "create makes the environment that the configuration describes", lifecycle::whole_life),
    must!("runtime.lifecycle.environment-error", "runtime.md#lifecycle", "an environment that can't be made is an error", errors::leave_nothing),
    must!("runtime.lifecycle.not-yet", "runtime.md#lifecycle", "create does not run the user's program", lifecycle::whole_life),
    must!("runtime.lifecycle.config-frozen", "runtime.md#lifecycle", "what is changed in config.json after create changes nothing", lifecycle::config_is_read_once),
    must!("runtime.lifecycle.prestart", "runtime.md#lifecycle", "prestart hooks are called", hooks::all_six),
    must!("runtime.lifecycle.prestart-fails", "runtime.md#lifecycle", "a prestart hook that fails is an error, and the container is gone", hooks::failing_prestart),
    must!("runtime.lifecycle.create-runtime", "runtime.md#lifecycle", "createRuntime hooks are called", hooks::all_six),
    must!("runtime.lifecycle.create-runtime-fails", "runtime.md#lifecycle", "a createRuntime hook that fails is an error, and the container is gone", hooks::failing_create_runtime),
    must!("runtime.lifecycle.create-container", "runtime.md#lifecycle", "createContainer hooks are called", hooks::all_six),
    must!("runtime.lifecycle.create-container-fails", "runtime.md#lifecycle", "a createContainer hook that fails is an error, and the container is gone", hooks::failing_create_container),
    must!("runtime.lifecycle.start-container", "runtime.md#lifecycle", "startContainer hooks are called", hooks::all_six),
    must!("runtime.lifecycle.start-container-fails", "runtime.md#lifecycle", "a startContainer hook that fails is an error, and the program never runs", hooks::failing_start_container),
    must!("runtime.lifecycle.run", "runtime.md#lifecycle", "start runs the user's program", lifecycle::whole_life),
    must!("runtime.lifecycle.poststart", "runtime.md#lifecycle", "poststart hooks are called", hooks::all_six),
    must!("runtime.lifecycle.poststart-fails", "runtime.md#lifecycle", "a poststart hook that fails is an error, and the container is stopped", hooks::failing_poststart),
    must!("runtime.lifecycle.destroyed", "runtime.md#lifecycle", "what create made is undone", lifecycle::whole_life),
    must!("runtime.lifecycle.poststop", "runtime.md#lifecycle", "poststop hooks are called", hooks::all_six),
    must!("runtime.lifecycle.poststop-fails", "runtime.md#lifecycle", "a poststop hook that fails is a warning: the rest goes on", hooks::failing_poststop),

    must!("runtime.errors.as-before", "runtime.md#errors", "an operation that ends in an error leaves everything as it was", errors::leave_nothing),
    must!("runtime.warnings.go-on", "runtime.md#warnings", "a warning does not end the operation", hooks::failing_poststop),
    must!("runtime.operations", "runtime.md#operations", "state, create, start, kill and delete are there", lifecycle::whole_life),

    must!("runtime.query-state.no-id", "runtime.md#query-state", "state without an id is an error", errors::without_an_id),
    must!("runtime.query-state.unknown", "runtime.md#query-state", "state of a container that does not exist is an error", errors::unknown_container),
    must!("runtime.query-state.returns", "runtime.md#query-state", "state returns the state", state::complete),

    must!("runtime.create.no-arguments", "runtime.md#create", "create without a bundle and an id is an error", errors::without_an_id),
    must!("runtime.create.id-taken", "runtime.md#create", "create with an id that is taken is an error and makes no container", state::id_is_taken),
    must!("runtime.create.id-invalid", "runtime.md#create", "create with an id that is not valid is an error and makes no container", errors::invalid_ids),
    must!("runtime.create.new", "runtime.md#create", "create makes a new container", lifecycle::whole_life),
    must!("runtime.create.applied", "runtime.md#create", "everything that is configured but the process is applied by create", lifecycle::applied_by_create),
    must!("runtime.create.args-not-applied", "runtime.md#create", "process.args waits for start", lifecycle::applied_by_create),
    must!("runtime.create.cannot-apply", "runtime.md#create", "a property that can't be applied is an error and makes no container", errors::leave_nothing),

    must!("runtime.start.no-id", "runtime.md#start", "start without an id is an error", errors::without_an_id),
    must!("runtime.start.not-created", "runtime.md#start", "start of a container that is not in status created is an error without effect", lifecycle::start_only_when_created),
    must!("runtime.start.runs", "runtime.md#start", "start runs process.args", lifecycle::whole_life),
    must!("runtime.start.no-process", "runtime.md#start", "start without a process in the configuration is an error", lifecycle::no_process),

    must!("runtime.kill.no-id", "runtime.md#kill", "kill without an id is an error", errors::without_an_id),
    must!("runtime.kill.not-alive", "runtime.md#kill", "kill of a container that is neither created nor running is an error without effect", lifecycle::kill_only_the_living),
    must!("runtime.kill.signal", "runtime.md#kill", "kill sends just this signal to the container's process", lifecycle::kill_sends_the_signal),

    must!("runtime.delete.no-id", "runtime.md#delete", "delete without an id is an error", errors::without_an_id),
    must!("runtime.delete.running", "runtime.md#delete", "delete of a running container is an error without effect", lifecycle::delete_only_the_stopped),
    must!("runtime.delete.created", "runtime.md#delete", "delete of a created container is an error without effect", lifecycle::delete_only_the_created),
    must!("runtime.delete.unknown", "runtime.md#delete", "delete of a container that does not exist is an error", errors::unknown_container),
    must!("runtime.delete.deletes", "runtime.md#delete", "delete takes away what create made", lifecycle::whole_life),
    must!("runtime.delete.only-own", "runtime.md#delete", "delete takes away nothing else", lifecycle::delete_spares_the_rest),

    must!("runtime-linux.dev-links", "runtime-linux.md#dev-symbolic-links", "/dev/fd, stdin, stdout and stderr lead to /proc/self/fd", devices::links),
    must!("runtime-linux.fds", "runtime-linux.md#file-descriptors", "only the three standard descriptors are open", devices::descriptors),
];
