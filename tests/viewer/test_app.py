"""Starting the viewer: what is refused, who may connect, and what is sent to the browser."""

import asyncio
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh

from mvdecor.apps.viewer.app import Viewer, run_view
from mvdecor.apps.viewer.labels import UNLABELLED
from mvdecor.apps.viewer.panel import CAMERA, CENTER, Panel
from mvdecor.apps.viewer.scene import ColouredMesh, patches_of
from mvdecor.errors import InputError
from mvdecor.processes import worker_context
from mvdecor.shapes import Shape
from tests.calls import PATIENCE, run_script, script, wait
from tests.viewer.person import wait as eventually


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "meshes"
    root.mkdir()
    trimesh.creation.box().export(root / "box.ply")
    return [f"data.root={root}", "data=folder", "labels=[a,b]"]


def test_port_in_use(folder, make_view):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port={port}: cannot listen there"):
            run_view(make_view(*folder, f"port={port}"))


def test_without_viser(folder, make_view, monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[view\]'"):
        run_view(make_view(*folder, "port=0"))


def heed_and_run(number, words, said, cwd):
    """The script in a process that heeds the signal, which a program in a shell's background may not."""
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    run_script(words, [said, said], cwd)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(folder, tmp_path, number):
    words, said = script("view", *folder, "port=0", f"out={tmp_path / 'out'}"), tmp_path / "said"
    process = worker_context().Process(target=heed_and_run, args=(number, words, said, tmp_path))
    process.start()
    end = time.monotonic() + PATIENCE
    while not (said.exists() and "from another machine" in said.read_text()):
        assert process.is_alive() and time.monotonic() < end
        time.sleep(0.05)
    os.kill(process.pid, number)
    wait(process)
    assert process.exitcode == 0 and said.read_text().endswith("\nended; every label is saved\n")
    assert said.read_text().count("http://") == 1, "viser's own addresses lack the token that others need"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("port=99999", "port=99999"),
        ("host=nowhere.invalid", "cannot listen there"),
        ("labels=foot", "give a list of names"),
        ("run=nothing_here", "no such folder"),
        ("run=3", "name the folder of a finished run"),
        ("checkpoint=nothing_here", "no checkpoint folder"),
        ("data.root=nothing_here", "no such folder"),
    ],
)
def test_bad_settings(folder, make_view, override, message):
    with pytest.raises(InputError, match=message):
        run_view(make_view("port=0", *folder, override))


def test_no_shapes(make_view, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no mesh file"):
        run_view(make_view("port=0", "data=folder", f"data.root={tmp_path / 'empty'}"))


@pytest.mark.parametrize(("origin", "welcome"), [("http://localhost:1234", True), ("http://elsewhere.example", False)])
def test_pages_from_elsewhere_are_turned_away(folder, make_view, origin, welcome):
    viser = pytest.importorskip("viser", reason="needs viser (pip install -e '.[view]')")
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    async def try_to(port: int) -> bool:
        try:
            async with connect(f"ws://127.0.0.1:{port}", origin=origin, subprotocols=[f"viser-v{viser.__version__}"]):
                return True
        except InvalidStatus:
            return False

    with Viewer(make_view(*folder, "port=0")) as viewer:
        assert asyncio.run(try_to(viewer.port)) == welcome


def answer(address: str, **headers: str) -> tuple[int, str]:
    """The status of a page, and the cookie that it sets."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as response:
            return response.status, response.headers.get("Set-Cookie", "")
    except urllib.error.HTTPError as error:
        return error.code, ""


def test_a_viewer_that_is_open_to_others_wants_its_token(folder, make_view):
    viser = pytest.importorskip("viser", reason="needs viser (pip install -e '.[view]')")
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    async def connects(address: str, **headers: str) -> bool:
        protocols = [f"viser-v{viser.__version__}"]
        try:
            async with connect(f"ws://{address}", subprotocols=protocols, additional_headers=headers):
                return True
        except InvalidStatus:
            return False

    def socket_opens(path: str, **headers: str) -> bool:
        return asyncio.run(connects(f"{own}/{path}", **headers))

    with Viewer(make_view(*folder, "port=0", "host=0.0.0.0")) as viewer:
        address, token = viewer.address.split("/?token=")
        own = f"127.0.0.1:{viewer.port}"
        assert address.endswith(f":{viewer.port}") and len(token) >= 32
        assert answer(f"http://{own}/")[0] == answer(f"http://{own}/?token=x{token[1:]}")[0] == 403
        status, cookie = answer(f"http://{own}/?token={token}")
        assert status == 200 and "HttpOnly" in cookie and "SameSite=Strict" in cookie
        known = cookie.split(";")[0]
        assert answer(f"http://{own}/", Cookie=known)[0] == answer(f"http://{own}/", Cookie=f"a=b; {known}")[0] == 200
        assert answer(f"http://{own}/", Cookie=known[:-1])[0] == 403
        assert not socket_opens("") and not socket_opens("?token=") and not socket_opens("", Cookie="no cookie")
        assert socket_opens(f"?token={token}") and socket_opens("", Cookie=known)
        assert socket_opens("", Cookie=known, Origin=f"http://{own}")
        assert not socket_opens("", Cookie=known, Origin="http://elsewhere.example")
    with Viewer(make_view(*folder, "port=0", "host=0.0.0.0")) as again:
        assert token not in again.address


def test_a_local_viewer_listens_on_this_machine_alone(folder, make_view):
    with Viewer(make_view(*folder, "port=0")) as viewer:
        assert viewer.address == f"http://127.0.0.1:{viewer.port}"
        others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
        for address in others - {"127.0.0.1"}:
            with pytest.raises(OSError), socket.create_connection((address, viewer.port), timeout=2):
                pass


def test_labels_are_written_inside_the_folder(folder, make_session, tmp_path):
    session = make_session(*folder)
    with pytest.raises(InputError):
        session.label("../box", np.ones(12, dtype=bool), 0)
    session.label("box", np.ones(12, dtype=bool), 1)
    outside, file = tmp_path / "outside.npy", tmp_path / "meshes" / "box_labels.npy"
    before = file.rename(outside).read_bytes()
    file.symlink_to(outside)
    session.label("box", np.ones(12, dtype=bool), 0)
    assert outside.read_bytes() == before and (np.load(file) == 0).all()


@pytest.mark.parametrize(("faces", "most"), [(1, 4), (100, 7), (1000, 4096), (5000, 512)])
def test_patches_hold_every_face_once(faces, most):
    patches = patches_of(np.random.default_rng(faces).normal(size=(faces, 3)), most)
    assert sorted(np.concatenate(patches).tolist()) == list(range(faces))
    assert all(len(patch) <= most for patch in patches)
    assert len(patches) <= max(1, 2 * -(-faces // most))


class Node:
    glb_data = b""


class Scene:
    """As much of viser's as a mesh needs."""

    def __init__(self):
        self.nodes: list[Node] = []

    def add_frame(self, *_, **__):
        return Node()

    def add_glb(self, name, data, **_):
        self.nodes.append(Node())
        self.nodes[-1].glb_data = data
        return self.nodes[-1]


class Server:
    def __init__(self):
        self.scene = Scene()

    def atomic(self):
        return nullcontext()


@pytest.mark.parametrize("home", [False, True])
@pytest.mark.parametrize(("aspect", "radius"), [(0.5, 1.0), (1.8, 1.0), (0.9, 2.1)])
def test_all_that_is_there_fits_and_is_turned_around_its_middle(aspect, radius, home):
    camera = SimpleNamespace(position=(3.0, 1.0, 0.5), look_at=(2.0, 1.0, 0.5), fov=0.9, aspect=aspect)
    Panel._turn(SimpleNamespace(_radius_shown=radius), SimpleNamespace(camera=camera), home)
    distance = np.linalg.norm(camera.position)
    away = np.array(CAMERA) / np.linalg.norm(CAMERA) if home else (1, 0, 0)
    np.testing.assert_allclose(np.array(camera.position) / distance, away, atol=1e-9)
    assert camera.look_at == CENTER
    narrower = min(np.tan(0.45), np.tan(0.45) * aspect)
    assert 0.8 < np.tan(np.arcsin(radius / distance)) / narrower < 1  # of the sphere around it, within the picture


class Camera:
    """As viser's: a new position takes along what is looked at."""

    look_at = np.array([0.0, 0.0, 0.0])
    _position = np.array([0.0, 0.0, 3.0])

    @property
    def position(self):
        return self._position

    @position.setter
    def position(self, position):
        self.look_at = np.array(self.look_at) + position - self._position
        self._position = np.array(position)


def test_flying_to_a_face_puts_it_into_the_middle():
    shape = Shape.from_trimesh(trimesh.creation.icosphere(2)).normalized()
    camera, center = Camera(), shape.face_centers[7].double().numpy()
    session = SimpleNamespace(
        largest_unlabelled=lambda _: 7, shape=lambda _: shape, tools=lambda _: SimpleNamespace(center=lambda _: center)
    )
    meshes = {"main": SimpleNamespace(position=np.zeros(3))}
    panel = SimpleNamespace(_session=session, id="ball", meshes=meshes, _mark=lambda _: None)
    panel._fly_to = partial(Panel._fly_to, panel)
    Panel.fly(panel, SimpleNamespace(camera=camera))
    np.testing.assert_allclose(camera.look_at, center, atol=1e-6)
    assert np.linalg.norm(camera.position) > 2, "from outside"


def test_no_key_does_two_things(folder, make_view, monkeypatch):
    """Also none of those that move viser's camera."""
    viser = pytest.importorskip("viser", reason="needs viser (pip install -e '.[view]')")
    keys = [(key.upper(), None) for key in "wasdqe"]
    add = viser.GuiApi.add_command

    def noted(gui, label, *, hotkey=None, modifier=None, **options):
        keys.append((hotkey.upper(), modifier))
        return add(gui, label, hotkey=hotkey, modifier=modifier, **options)

    monkeypatch.setattr(viser.GuiApi, "add_command", noted)
    with Viewer(make_view(*folder, "port=0")):
        assert len(keys) > 20 and len(set(keys)) == len(keys)


def test_what_has_no_label_is_neither_locked_nor_renamed(folder, make_view):
    with Viewer(make_view(*folder, "port=0")) as viewer:
        panel, classes = viewer.panel, viewer.panel._classes
        classes._class.value = UNLABELLED
        for action in (lambda: classes._lock(True), classes._rename):
            panel.do(action)
            assert "is no class: choose one" in panel._message.content
        assert viewer.session.locked == set() and viewer.session.label_names == ("a", "b")


def test_a_shape_that_cannot_be_opened_leaves_the_one_before(folder, make_view, tmp_path):
    (tmp_path / "meshes" / "damaged.ply").write_bytes(b"no mesh")
    with Viewer(make_view(*folder, "port=0")) as viewer:
        panel = viewer.panel
        for choice in (panel._shape, panel._other):
            choice.value = "damaged"
            assert "damaged.ply" in panel._message.content and choice.value != "damaged"
            assert panel.open_ids() == {"main": "box"} and panel.meshes.keys() == {"main"}
            panel.say("")


def test_a_shape_chosen_while_another_one_opens_is_opened_next(folder, make_view, tmp_path):
    for name in ("ball", "cone"):
        trimesh.creation.icosphere(1).export(tmp_path / "meshes" / f"{name}.ply")
    with Viewer(make_view(*folder, "port=0")) as viewer:
        panel, shapes = viewer.panel, ["ball", "box", "cone"]
        assert panel.id == shapes[0]
        opened = panel._open

        def meanwhile():
            panel._open = opened
            browser = threading.Thread(
                target=setattr, args=(panel._shape, "value", shapes[2])
            )  # its message comes by itself
            browser.start()
            assert eventually(lambda: panel._shape.value == shapes[2], PATIENCE)
            opened()

        panel._open = meanwhile
        panel._shape.value = shapes[1]
        assert eventually(lambda: panel.id == shapes[2], PATIENCE)
        assert panel._shape.value == shapes[2]


def test_the_place_to_look_from_is_remembered_once_a_browser_took_it_over():
    place = SimpleNamespace(position=np.array(CAMERA), look_at=np.array(CENTER))
    said = []
    client = SimpleNamespace(camera=SimpleNamespace(on_update=said.append))
    Panel._remember_place(SimpleNamespace(_server=SimpleNamespace(initial_camera=place)), client)
    for position, kept in [((3, 3, 3), CAMERA), (CAMERA, CAMERA), ((3, 3, 3), (3, 3, 3))]:
        said[0](SimpleNamespace(position=np.array(position, dtype=float), look_at=np.array(CENTER)))
        np.testing.assert_array_equal(place.position, kept)


def test_only_patches_that_changed_are_sent():
    ball = trimesh.creation.icosphere(5)
    shape, server = Shape.from_trimesh(ball), Server()
    colours = np.zeros((shape.num_faces, 3, 3), np.uint8)
    mesh = ColouredMesh(server, "/main", shape, colours, np.zeros(3))
    first = [node.glb_data for node in server.scene.nodes]
    assert len(first) > 3
    colours[100] = 200
    assert mesh.colour(colours) == 1
    assert sum(a != node.glb_data for a, node in zip(first, server.scene.nodes, strict=True)) == 1
    assert mesh.colour(colours) == 0
    for node in server.scene.nodes:
        sent = trimesh.load(trimesh.util.wrap_as_stream(node.glb_data), file_type="glb", force="mesh", process=False)
        assert torch.isfinite(torch.from_numpy(sent.vertices)).all()
    assert max(len(data) for data in first) < 300_000


def test_of_coincident_faces_one_is_sent():
    """Two colours in one place would flicker; the lowest of twins has the labels that a click changes."""
    ball = trimesh.creation.icosphere(2)
    single = Shape.from_trimesh(ball)
    double = Shape("double", single.vertices, torch.cat([single.faces, single.faces.flip(1)]))
    colours = np.zeros((double.num_faces, 3, 3), np.uint8)
    colours[single.num_faces :] = 255
    server = Server()
    ColouredMesh(server, "/m", double, colours, np.zeros(3))
    (node,) = server.scene.nodes
    sent = trimesh.load(trimesh.util.wrap_as_stream(node.glb_data), file_type="glb", force="mesh", process=False)
    assert len(sent.faces) == single.num_faces


def test_hidden_faces_are_not_sent_and_xray_is_translucent():
    ball = trimesh.creation.icosphere(5)
    shape, server = Shape.from_trimesh(ball), Server()
    colours = np.zeros((shape.num_faces, 3, 3), np.uint8)
    mesh = ColouredMesh(server, "/main", shape, colours, np.zeros(3))
    shown = shape.face_centers[:, 0].numpy() > 0.5
    assert mesh.colour(colours, shown) > 0

    def sent() -> int:
        loaded = (trimesh.load(trimesh.util.wrap_as_stream(n.glb_data), file_type="glb") for n in visible())
        return sum(len(scene.dump(concatenate=True).faces) for scene in loaded)

    def visible() -> list[Node]:
        return [node for node in mesh.nodes if node.visible]

    assert 0 < len(visible()) < len(mesh.nodes) and sent() == shown.sum()
    assert mesh.colour(colours, shown, xray=True) == len(visible())
    assert all(b'"alphaMode":"BLEND"' in node.glb_data for node in visible())
    assert mesh.colour(colours) == len(mesh.nodes) and sent() == shape.num_faces
    assert not any(b"BLEND" in node.glb_data for node in visible())
    assert mesh.colour(colours, np.zeros(shape.num_faces, dtype=bool)) == 0 and visible() == []
