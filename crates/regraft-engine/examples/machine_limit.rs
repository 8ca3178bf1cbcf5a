//! What the machine's multiply–add instructions can do at most: `machine_limit [threads]`.
//!
//! Every thread runs independent chains of one instruction on registers, long enough for none to wait for another. Prints
//! one line of JSON: billions of operations a second (a multiplication and an addition are two) in f32, bf16 (dot products
//! of pairs) and int8 (of fours), 0 where the processor has no such instruction; and gigabytes a second of a sum over
//! 256 MiB a thread. A further kind of instruction is named by its precision and a word more, such as `bf16 tiles`;
//! `cargo xtask bench` takes the fastest of a precision.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example")]

use regraft_engine::InstructionSet;
use regraft_system::clock::Stopwatch;

const ROUNDS: usize = 8_000_000;
/// More than latency times instructions a cycle, and few enough for the compiler to keep all of them in registers.
const CHAINS: usize = 12;
const REPETITIONS: usize = 5;

fn main() {
    let threads = std::env::args().nth(1).map_or(1, |threads| threads.parse().unwrap());
    let limits = instructions().map(|(kind, operations, run)| {
        let limit = if operations == 0 { 0.0 } else { best(threads, (operations * ROUNDS) as f64, &run) };
        format!(r#""{kind}": {limit:.1}"#)
    });
    let numbers = vec![1f32; 64 << 20];
    let read = || std::hint::black_box(sum(&numbers));
    let bytes = best(threads, size_of_val(&numbers[..]) as f64, &|| read() as i32);
    println!(r#"{{"threads": {threads}, {}, "gigabytes": {bytes:.1}}}"#, limits.join(", "));
}

/// Billions a second over all threads, the best of several runs.
fn best(threads: usize, operations: f64, run: &(impl Fn() -> i32 + Sync)) -> f64 {
    let seconds = (0..REPETITIONS).map(|_| {
        let stopwatch = Stopwatch::start();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| std::hint::black_box(run()));
            }
        });
        stopwatch.seconds()
    });
    operations * threads as f64 / seconds.fold(f64::MAX, f64::min) / 1e9
}

fn sum(numbers: &[f32]) -> f32 {
    let mut sums = [0f32; 64];
    for part in numbers.chunks_exact(64) {
        for (sum, number) in sums.iter_mut().zip(part) {
            *sum += number;
        }
    }
    sums.iter().sum()
}

/// A kind of instruction, the operations of one round of it, and what runs `ROUNDS` rounds.
type Chain = (&'static str, usize, fn() -> i32);

#[cfg(target_arch = "x86_64")]
fn instructions() -> [Chain; 5] {
    let tiles = InstructionSet::Amx.is_available();
    let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
    let narrow = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let pairs = wide && is_x86_feature_detected!("avx512bf16");
    let fours = wide && is_x86_feature_detected!("avx512vnni");
    [
        if wide {
            // SAFETY: the processor has the instructions.
            ("f32", CHAINS * 32, || unsafe { x86::f32_wide() })
        } else if narrow {
            // SAFETY: as above.
            ("f32", CHAINS * 16, || unsafe { x86::f32_narrow() })
        } else {
            none("f32")
        },
        // SAFETY: as above.
        if pairs { ("bf16", CHAINS * 64, || unsafe { x86::bf16() }) } else { none("bf16") },
        // SAFETY: as above.
        if fours { ("int8", CHAINS * 128, || unsafe { x86::int8() }) } else { none("int8") },
        if tiles {
            // SAFETY: as above.
            ("bf16 tiles", 16 * 16 * 64, || unsafe { x86::bf16_tiles() })
        } else {
            none("bf16 tiles")
        },
        if tiles {
            // SAFETY: as above.
            ("int8 tiles", 16 * 16 * 128, || unsafe { x86::int8_tiles() })
        } else {
            none("int8 tiles")
        },
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn instructions() -> [Chain; 5] {
    ["f32", "bf16", "int8", "bf16 tiles", "int8 tiles"].map(none)
}

/// What the processor does not have.
fn none(kind: &'static str) -> Chain {
    (kind, 0, || 0)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{CHAINS, ROUNDS};

    /// Independent chains of one instruction; `black_box` keeps the operands from being known.
    macro_rules! chains {
        ($name:ident, $features:literal, $zero:expr, $one:expr, $step:expr, $bits:expr) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name() -> i32 {
                let (mut sums, one) = ([$zero; CHAINS], std::hint::black_box($one));
                for _ in 0..ROUNDS {
                    for sum in &mut sums {
                        *sum = $step(*sum, one);
                    }
                }
                sums.into_iter().map($bits).fold(0, i32::wrapping_add)
            }
        };
    }

    chains!(
        f32_wide,
        "avx512f",
        _mm512_setzero_ps(),
        _mm512_set1_ps(1.0),
        |sum, one| _mm512_fmadd_ps(one, one, sum),
        |sum| { _mm_cvtsi128_si32(_mm512_castsi512_si128(_mm512_castps_si512(sum))) }
    );
    chains!(
        f32_narrow,
        "avx2,fma",
        _mm256_setzero_ps(),
        _mm256_set1_ps(1.0),
        |sum, one| _mm256_fmadd_ps(one, one, sum),
        |sum| { _mm_cvtsi128_si32(_mm256_castsi256_si128(_mm256_castps_si256(sum))) }
    );
    chains!(
        bf16,
        "avx512f,avx512bf16",
        _mm512_setzero_ps(),
        _mm512_cvtne2ps_pbh(_mm512_set1_ps(1.0), _mm512_set1_ps(1.0)),
        |sum, one| _mm512_dpbf16_ps(sum, one, one),
        |sum| { _mm_cvtsi128_si32(_mm512_castsi512_si128(_mm512_castps_si512(sum))) }
    );
    chains!(
        int8,
        "avx512f,avx512vnni",
        _mm512_setzero_si512(),
        _mm512_set1_epi8(1),
        |sum, one| _mm512_dpbusd_epi32(sum, one, one),
        |sum| { _mm_cvtsi128_si32(_mm512_castsi512_si128(sum)) }
    );

    /// As the instruction reads it: eight tiles of 16 rows of 64 bytes.
    #[repr(C, align(64))]
    struct Shape {
        palette: u8,
        unused: [u8; 15],
        bytes_of_a_row: [u16; 16],
        rows: [u8; 16],
    }

    macro_rules! tiles {
        ($name:ident, $product:literal) => {
            /// # Safety
            /// The processor must have tiles.
            pub(super) unsafe fn $name() -> i32 {
                let eight = |of: usize| std::array::from_fn(|tile| if tile < 8 { of as u8 } else { 0 });
                let bytes_of_a_row = eight(64).map(u16::from);
                let shape = Shape { palette: 1, unused: [0; 15], bytes_of_a_row, rows: eight(16) };
                // SAFETY: the caller's promise; the tiles are not used elsewhere.
                unsafe {
                    std::arch::asm!(
                        "ldtilecfg [{shape}]",
                        "2:",
                        concat!($product, " tmm0, tmm4, tmm6"),
                        concat!($product, " tmm1, tmm4, tmm7"),
                        concat!($product, " tmm2, tmm5, tmm6"),
                        concat!($product, " tmm3, tmm5, tmm7"),
                        "dec {rounds}",
                        "jnz 2b",
                        "tilerelease",
                        shape = in(reg) &raw const shape,
                        rounds = inout(reg) ROUNDS / 4 => _,
                        options(nostack),
                    );
                }
                0
            }
        };
    }

    tiles!(bf16_tiles, "tdpbf16ps");
    tiles!(int8_tiles, "tdpbusd");
}
