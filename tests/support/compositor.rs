//! A Wayland server with security-context-v1 and nothing to show: it holds clients to the protocol, accepts the
//! connections of sockets that it was told of, and keeps the protocol itself from those.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wayland_protocols::wp::security_context::v1::server::wp_security_context_manager_v1::{
    self as manager, WpSecurityContextManagerV1,
};
use wayland_protocols::wp::security_context::v1::server::wp_security_context_v1::{
    self as context, WpSecurityContextV1,
};
use wayland_server::backend::{ClientData, ClientId, DisconnectReason};
use wayland_server::protocol::wl_compositor::{self, WlCompositor};
use wayland_server::{Client, DataInit, Dispatch, Display, DisplayHandle, GlobalDispatch, New, Resource};

use crate::support::World;

/// What the server makes of a request for a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    AsItShould,
    /// It answers with an error.
    Refuses,
    /// It closes the connection.
    HangsUp,
    /// It does not answer.
    SaysNothing,
}

/// What the server was told of a sandbox.
#[derive(Debug, Clone, Default)]
pub struct Context {
    pub engine: String,
    pub app: String,
    pub instance: String,
    /// Clients that came by its socket.
    pub clients: usize,
    /// The other end has been closed, and the socket with it.
    pub closed: bool,
}

/// The server; ended when dropped.
pub struct Compositor {
    contexts: Arc<Mutex<Vec<Context>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    path: std::path::PathBuf,
}

struct State {
    behaviour: Behaviour,
    contexts: Arc<Mutex<Vec<Context>>>,
    sockets: Vec<Socket>,
    hang_up: Vec<Client>,
    is_silent: bool,
}

/// A socket that was committed.
struct Socket {
    listener: UnixListener,
    close: OwnedFd,
    context: usize,
}

/// Who a client is: the number of the context that it came by, or a client of the user's own.
struct Who(Option<usize>);

impl ClientData for Who {
    fn initialized(&self, _: ClientId) {}
    fn disconnected(&self, _: ClientId, _: DisconnectReason) {}
}

/// A context that is being described.
#[derive(Default)]
struct Description {
    descriptors: Mutex<Option<(OwnedFd, OwnedFd)>>,
    said: Mutex<[Option<String>; 3]>,
}

impl Compositor {
    /// Starts it at the socket `wayland-7` of the world.
    pub fn start(world: &World, behaviour: Behaviour) -> Compositor {
        let path = world.path("run").join("wayland-7");
        let listener = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (contexts, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let state = State {
            behaviour,
            contexts: Arc::clone(&contexts),
            sockets: Vec::new(),
            hang_up: Vec::new(),
            is_silent: false,
        };
        let thread = std::thread::spawn({
            let ends = Arc::clone(&ends);
            move || serve(&listener, state, &ends)
        });
        Compositor { contexts, ends, thread: Some(thread), path }
    }

    /// What it was told so far.
    pub fn contexts(&self) -> Vec<Context> {
        self.contexts.lock().unwrap().clone()
    }
}

impl Drop for Compositor {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        let _ = fs::remove_file(&self.path);
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

fn serve(listener: &UnixListener, mut state: State, ends: &AtomicBool) {
    let mut display: Display<State> = Display::new().unwrap();
    display.handle().create_global::<State, WpSecurityContextManagerV1, ()>(1, ());
    display.handle().create_global::<State, WlCompositor, ()>(4, ());
    while !ends.load(Ordering::Relaxed) {
        while let Ok((client, _)) = listener.accept() {
            display.handle().insert_client(client, Arc::new(Who(None))).unwrap();
        }
        state.accept_from_sandboxes(&mut display.handle());
        if !state.is_silent {
            display.dispatch_clients(&mut state).unwrap();
        }
        for client in state.hang_up.drain(..) {
            client.kill(
                &display.handle(),
                wayland_server::backend::protocol::ProtocolError {
                    code: 0,
                    object_id: 1,
                    object_interface: "wl_display".to_owned(),
                    message: "no more".to_owned(),
                },
            );
        }
        if !state.is_silent {
            display.flush_clients().unwrap();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl State {
    fn accept_from_sandboxes(&mut self, display: &mut DisplayHandle) {
        let mut contexts = self.contexts.lock().unwrap();
        self.sockets.retain(|socket| {
            while let Ok((client, _)) = socket.listener.accept() {
                insert(display, client, socket.context);
                contexts[socket.context].clients += 1;
            }
            let mut polled = [PollFd::new(&socket.close, PollFlags::empty())];
            poll(&mut polled, Some(&Timespec::default())).unwrap();
            contexts[socket.context].closed = polled[0].revents().contains(PollFlags::HUP);
            !contexts[socket.context].closed
        });
    }
}

fn insert(display: &mut DisplayHandle, client: UnixStream, context: usize) {
    display.insert_client(client, Arc::new(Who(Some(context)))).unwrap();
}

fn is_sandboxed(client: &Client) -> bool {
    client.get_data::<Who>().unwrap().0.is_some()
}

impl GlobalDispatch<WpSecurityContextManagerV1, ()> for State {
    fn bind(
        _: &mut State,
        _: &DisplayHandle,
        _: &Client,
        resource: New<WpSecurityContextManagerV1>,
        (): &(),
        init: &mut DataInit<'_, State>,
    ) {
        init.init(resource, ());
    }

    fn can_view(client: Client, (): &()) -> bool {
        !is_sandboxed(&client)
    }
}

impl Dispatch<WpSecurityContextManagerV1, ()> for State {
    fn request(
        state: &mut State,
        client: &Client,
        resource: &WpSecurityContextManagerV1,
        request: manager::Request,
        (): &(),
        _: &DisplayHandle,
        init: &mut DataInit<'_, State>,
    ) {
        let manager::Request::CreateListener { id, listen_fd, close_fd } = request else { return };
        assert!(!is_sandboxed(client), "a sandbox within a sandbox");
        let descriptors = Mutex::new(Some((listen_fd, close_fd)));
        init.init(id, Description { descriptors, said: Mutex::default() });
        match state.behaviour {
            Behaviour::AsItShould => {}
            Behaviour::Refuses => resource.post_error(manager::Error::InvalidListenFd, "no sockets today"),
            Behaviour::HangsUp => state.hang_up.push(client.clone()),
            Behaviour::SaysNothing => state.is_silent = true,
        }
    }
}

impl Dispatch<WpSecurityContextV1, Description> for State {
    fn request(
        state: &mut State,
        _: &Client,
        resource: &WpSecurityContextV1,
        request: context::Request,
        description: &Description,
        _: &DisplayHandle,
        _: &mut DataInit<'_, State>,
    ) {
        if description.descriptors.lock().unwrap().is_none() {
            if !matches!(request, context::Request::Destroy) {
                resource.post_error(context::Error::AlreadyUsed, "committed already");
            }
            return;
        }
        let said = |place: usize, text: String| {
            let before = description.said.lock().unwrap()[place].replace(text);
            if before.is_some() {
                resource.post_error(context::Error::AlreadySet, "said already");
            }
        };
        match request {
            context::Request::SetSandboxEngine { name } => said(0, name),
            context::Request::SetAppId { app_id } => said(1, app_id),
            context::Request::SetInstanceId { instance_id } => said(2, instance_id),
            context::Request::Commit => state.commit(resource, description),
            _ => {}
        }
    }
}

impl State {
    fn commit(&mut self, resource: &WpSecurityContextV1, description: &Description) {
        let Some((listen, close)) = description.descriptors.lock().unwrap().take() else { return };
        let [engine, app, instance] = std::mem::take(&mut *description.said.lock().unwrap());
        // A socket that listens, as the protocol wants it.
        let listens = rustix::net::sockopt::socket_acceptconn(listen.as_fd());
        let (Some(engine), Ok(true)) = (engine, listens) else {
            resource.post_error(context::Error::InvalidMetadata, "no engine, or no socket that listens");
            return;
        };
        let listener = UnixListener::from(listen);
        listener.set_nonblocking(true).unwrap();
        let mut contexts = self.contexts.lock().unwrap();
        let (app, instance) = (app.unwrap_or_default(), instance.unwrap_or_default());
        contexts.push(Context { engine, app, instance, ..Context::default() });
        self.sockets.push(Socket { listener, close, context: contexts.len() - 1 });
    }
}

impl GlobalDispatch<WlCompositor, ()> for State {
    fn bind(
        _: &mut State,
        _: &DisplayHandle,
        _: &Client,
        resource: New<WlCompositor>,
        (): &(),
        init: &mut DataInit<'_, State>,
    ) {
        init.init(resource, ());
    }
}

impl Dispatch<WlCompositor, ()> for State {
    fn request(
        _: &mut State,
        _: &Client,
        _: &WlCompositor,
        _: wl_compositor::Request,
        (): &(),
        _: &DisplayHandle,
        _: &mut DataInit<'_, State>,
    ) {
        panic!("no client of these tests makes a surface");
    }
}
