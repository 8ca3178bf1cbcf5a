//! Memory does not grow with the number of files.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use regraft::{Context, EmbedPrecision, FrozenPrecision, InputChoice, Model, embed};
use regraft_graph::{
    Card, ChannelOrder, Conv, Fact, Graph, Node, Op, Padding, ParameterKind, Preprocessing, Resize,
    ResizeFilter, Roles, Tensor,
};

/// Counts the bytes that are allocated, and the most at any time.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed to the system's allocator; only numbers are kept.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FEATURES: usize = 2048;

/// One convolution of single pixels, and the mean.
fn wide() -> Model {
    let mut graph = Graph::new("input", Fact::image(3));
    let conv = Conv {
        in_channels: 3,
        out_channels: FEATURES,
        kernel: [1; 2],
        stride: [4; 2],
        dilation: [1; 2],
        padding: Padding::all(0),
        groups: 1,
        bias: false,
    };
    graph.push(Node::new("conv", Op::Conv(conv), ["input"])).unwrap();
    graph.set_output("conv").unwrap();
    let parameter = graph.parameters().into_iter().find(|found| found.kind == ParameterKind::Weight).unwrap();
    let values = vec![0.5; parameter.shape.iter().product()];
    let tensor = Tensor::from_f32(parameter.shape, &values).unwrap();
    let preprocessing = Preprocessing {
        channel_order: ChannelOrder::Rgb,
        resize: Resize::ShortSide(8),
        filter: ResizeFilter::Bilinear,
        crop: [8; 2],
        mean: vec![0.0; 3].into(),
        std: vec![1.0; 3].into(),
    };
    let roles = Roles { features: "conv".into(), logits: None, cuts: Vec::new() };
    let card = Card {
        name: "wide".into(),
        origin: "here".into(),
        sha256: None,
        licence: None,
        preprocessing,
        labels: Vec::new(),
        source_task: None,
        source_accuracy: None,
        aliases: Default::default(),
        roles,
    };
    Model::new(graph, [(parameter.name, tensor)].into_iter().collect(), card).unwrap()
}

/// Most bytes held at a time, beyond those that were held before.
fn peak(model: &Model, photo: &Path, files: usize) -> usize {
    let folder = tempfile::tempdir().unwrap();
    for file in 0..files {
        std::os::unix::fs::symlink(photo, folder.path().join(format!("{file:05}.png"))).unwrap();
    }
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    let out = folder.path().join("features.npy");
    let inputs = [folder.path().to_path_buf()];
    let embedded = embed(
        model,
        &inputs,
        &InputChoice::default(),
        "features",
        EmbedPrecision::Given(FrozenPrecision::Float32),
        &out,
        &Context::default(),
    )
    .unwrap();
    assert_eq!((embedded.images, embedded.dim), (files, FEATURES));
    PEAK.load(Relaxed) - before
}

#[test]
fn ten_times_the_files_need_no_more_memory() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let photo = tests.join("../../../examples/emoji").read_dir().unwrap();
    let photo = photo.flatten().find_map(|class| class.path().read_dir().ok()?.flatten().next()).unwrap();
    let photo = photo.path().canonicalize().unwrap();
    let model = wide();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    pool.install(|| {
        peak(&model, &photo, 64);
        let (few, many) = (peak(&model, &photo, 64), peak(&model, &photo, 640));
        // The features alone would be 5.2 MB; the paths of so many files are 0.3 MB.
        assert!(many < few + 1_000_000, "{few} bytes for 64 files, {many} for 640");
    });
}
