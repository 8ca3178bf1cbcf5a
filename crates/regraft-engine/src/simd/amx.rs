//! Tiles of Intel AMX: eight registers of up to 16 rows of 64 bytes, and an instruction that multiplies two of them.
//!
//! The compiler never uses the tiles by itself, but does not know either what an `asm!` block left in them; so each block
//! here ends with nothing in a tile that a later one needs, but for their shape, which [`Shape`] sets and takes back.

use std::{arch::asm, sync::OnceLock};

use std::arch::x86_64::{
    __m512i, _MM_HINT_ET0, _mm_loadu_si128, _mm_prefetch, _mm_storeu_si128, _mm256_loadu_si256,
    _mm512_castsi128_si512, _mm512_castsi256_si512, _mm512_cvtepu16_epi32, _mm512_inserti32x4,
    _mm512_inserti64x4, _mm512_loadu_ps, _mm512_mask_i32gather_epi32, _mm512_mask_storeu_epi8,
    _mm512_mask_storeu_epi32, _mm512_maskz_loadu_epi8, _mm512_or_si512, _mm512_reduce_add_ps,
    _mm512_reduce_max_ps, _mm512_setr_epi32, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_storeu_si512,
};

/// Most rows of a tile.
pub(crate) const ROWS: usize = 16;

/// Bytes of a row of a tile.
pub(crate) const ROW: usize = 64;

/// Whether the processor has tiles with products of bfloat16 numbers and of bytes, and AVX-512 beside them, and the
/// operating system lets this process use them.
pub(crate) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| has_instructions() && is_permitted())
}

fn has_instructions() -> bool {
    const BF16: u32 = 1 << 22;
    const TILE: u32 = 1 << 24;
    const INT8: u32 = 1 << 25;
    let vectors = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
        && is_x86_feature_detected!("avx512vnni");
    let all = BF16 | TILE | INT8;
    vectors && std::arch::x86_64::__cpuid_count(7, 0).edx & all == all
}

/// Asks for the tiles, which Linux gives a process only on request, for they make the saved state of a thread larger.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const REQUEST_PERMISSION: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: the call takes numbers only, and an unknown request is refused.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// Rows of the tiles while it lives: tiles 0 to 3 hold sums and 4 and 5 pixels, all of so many rows; 6 and 7 hold weights
/// of 16 rows.
pub(crate) struct Shape(());

/// As the instruction reads it.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    first_row: u8,
    reserved: [u8; 14],
    bytes_of_a_row: [u16; 16],
    rows: [u8; 16],
}

impl Shape {
    /// `None` where there are no tiles.
    pub(crate) fn new(pixels: usize) -> Option<Self> {
        if !is_available() {
            return None;
        }
        let pixels = pixels.clamp(1, ROWS) as u8;
        let [weights, none] = [ROWS as u8, 0];
        let mut rows = [none; 16];
        rows.iter_mut().zip([pixels; 6].into_iter().chain([weights; 2])).for_each(|(to, rows)| *to = rows);
        let bytes_of_a_row = rows.map(|rows| if rows == none { 0 } else { ROW as u16 });
        let configuration =
            Configuration { palette: 1, first_row: 0, reserved: [0; 14], bytes_of_a_row, rows };
        // SAFETY: the processor has tiles, and this is a shape of its palette 1.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, preserves_flags))
        };
        Some(Self(()))
    }
}

impl Drop for Shape {
    fn drop(&mut self) {
        // SAFETY: there are tiles, since there is a shape of them.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags)) };
    }
}

/// The operands of a product of two tiles of pixels with one or two tiles of weights.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    /// What the distances of the first tile of pixels count from.
    pub(crate) pixels: *const u8,
    /// For each chunk the distance to the tile's first row, in bytes.
    pub(crate) offsets: *const usize,
    /// From a row of a tile of pixels to the next, in bytes; each has [`ROW`] of them.
    pub(crate) pixels_row: usize,
    /// From the first tile's rows to the second one's.
    pub(crate) second: usize,
    /// For each chunk 16 rows of one or two tiles' weights beside each other.
    pub(crate) weights: *const u8,
    /// A row of what the sums start from for each tile of weights, beside each other.
    pub(crate) initial: *const f32,
    /// Takes the sums of the first tile of pixels, a row of 16 or 32 numbers for each.
    pub(crate) sums: *mut f32,
    /// From a row of sums to the next, in bytes.
    pub(crate) sums_row: usize,
    /// From the sums of the first tile of pixels to those of the second one, in bytes.
    pub(crate) second_sums: usize,
    /// Chunks of 64 bytes a pixel; at least one.
    pub(crate) chunks: usize,
}

// Behind the first loads the register `initial` holds the address of the pixels' rows.
macro_rules! two_tiles_of_weights {
    ($product:literal, $operands:ident) => {
        asm!(
            "tileloadd tmm0, [{initial} + {zero}]",
            "tileloadd tmm2, [{initial} + {zero}]",
            "tileloadd tmm1, [{initial} + {zero} + 64]",
            "tileloadd tmm3, [{initial} + {zero} + 64]",
            "2:",
            "mov {initial}, [{offsets}]",
            "add {initial}, {pixels}",
            "tileloadd tmm4, [{initial} + {pixels_row}]",
            "tileloadd tmm6, [{weights} + {rows}]",
            "tileloadd tmm7, [{weights} + {rows} + 64]",
            "add {initial}, {second}",
            "tileloadd tmm5, [{initial} + {pixels_row}]",
            concat!($product, " tmm0, tmm4, tmm6"),
            concat!($product, " tmm1, tmm4, tmm7"),
            concat!($product, " tmm2, tmm5, tmm6"),
            concat!($product, " tmm3, tmm5, tmm7"),
            "add {offsets}, 8",
            "add {weights}, 2048",
            "dec {chunks}",
            "jnz 2b",
            "tilestored [{sums} + {sums_row}], tmm0",
            "tilestored [{sums} + {sums_row} + 64], tmm1",
            "add {sums}, {second_sums}",
            "tilestored [{sums} + {sums_row}], tmm2",
            "tilestored [{sums} + {sums_row} + 64], tmm3",
            initial = inout(reg) $operands.initial => _,
            zero = in(reg) 0usize,
            pixels = in(reg) $operands.pixels,
            offsets = inout(reg) $operands.offsets => _,
            pixels_row = in(reg) $operands.pixels_row,
            second = in(reg) $operands.second,
            rows = in(reg) 2 * ROW,
            weights = inout(reg) $operands.weights => _,
            chunks = inout(reg) $operands.chunks => _,
            sums = inout(reg) $operands.sums => _,
            sums_row = in(reg) $operands.sums_row,
            second_sums = in(reg) $operands.second_sums,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

macro_rules! one_tile_of_weights {
    ($product:literal, $operands:ident) => {
        asm!(
            "tileloadd tmm0, [{initial} + {zero}]",
            "tileloadd tmm2, [{initial} + {zero}]",
            "2:",
            "mov {initial}, [{offsets}]",
            "add {initial}, {pixels}",
            "tileloadd tmm4, [{initial} + {pixels_row}]",
            "tileloadd tmm6, [{weights} + {rows}]",
            "add {initial}, {second}",
            "tileloadd tmm5, [{initial} + {pixels_row}]",
            concat!($product, " tmm0, tmm4, tmm6"),
            concat!($product, " tmm2, tmm5, tmm6"),
            "add {offsets}, 8",
            "add {weights}, 1024",
            "dec {chunks}",
            "jnz 2b",
            "tilestored [{sums} + {sums_row}], tmm0",
            "add {sums}, {second_sums}",
            "tilestored [{sums} + {sums_row}], tmm2",
            initial = inout(reg) $operands.initial => _,
            zero = in(reg) 0usize,
            pixels = in(reg) $operands.pixels,
            offsets = inout(reg) $operands.offsets => _,
            pixels_row = in(reg) $operands.pixels_row,
            second = in(reg) $operands.second,
            rows = in(reg) ROW,
            weights = inout(reg) $operands.weights => _,
            chunks = inout(reg) $operands.chunks => _,
            sums = inout(reg) $operands.sums => _,
            sums_row = in(reg) $operands.sums_row,
            second_sums = in(reg) $operands.second_sums,
            out("tmm0") _, out("tmm2") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
            options(nostack),
        )
    };
}

impl Product {
    /// Adds up products of bfloat16 numbers, or of unsigned bytes of pixels and signed ones of weights if `INTEGER`, for
    /// `BLOCKS` tiles of weights, 1 or 2.
    ///
    /// # Safety
    /// All that the operands say must be readable, and writable where the sums go.
    pub(crate) unsafe fn compute<const INTEGER: bool, const BLOCKS: usize>(self, _shape: &Shape) {
        // SAFETY: a shape is the proof that there are tiles; the rest is the caller's promise.
        unsafe {
            match (INTEGER, BLOCKS) {
                (false, 2) => two_tiles_of_weights!("tdpbf16ps", self),
                (false, _) => one_tile_of_weights!("tdpbf16ps", self),
                (true, 2) => two_tiles_of_weights!("tdpbusd", self),
                (true, _) => one_tile_of_weights!("tdpbusd", self),
            }
        }
    }
}

/// Some bytes of a pixel's window that go to a row of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// From the start of the window.
    pub(crate) from: usize,
    /// In the row.
    pub(crate) to: usize,
    pub(crate) len: usize,
}

/// Writes one row of [`ROW`] bytes for each window: the pieces, and zero elsewhere.
///
/// # Safety
/// There must be tiles; all pieces must be readable from each of `windows` and end within a row; `rows` must be writable
/// for all rows.
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) unsafe fn gather(windows: &[*const u8], pieces: &[Piece], rows: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        match pieces {
            [a, b] if [a.len, b.len] == [32; 2] => gather_halves(windows, [a.from, b.from], rows),
            [a, b, c, d] if [a.len, b.len, c.len, d.len] == [16; 4] => {
                gather_quarters(windows, [a.from, b.from, c.from, d.from], rows);
            }
            _ => gather_any(windows, pieces, rows),
        }
    }
}

/// # Safety
/// As for [`gather`].
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn gather_halves(windows: &[*const u8], [a, b]: [usize; 2], rows: *mut u8) {
    for (index, window) in windows.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let first = _mm512_castsi256_si512(_mm256_loadu_si256(window.add(a).cast()));
            let row = _mm512_inserti64x4::<1>(first, _mm256_loadu_si256(window.add(b).cast()));
            _mm512_storeu_si512(rows.add(index * ROW).cast(), row);
        }
    }
}

/// # Safety
/// As for [`gather`].
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn gather_quarters(windows: &[*const u8], [a, b, c, d]: [usize; 4], rows: *mut u8) {
    for (index, window) in windows.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let first = _mm512_castsi128_si512(_mm_loadu_si128(window.add(a).cast()));
            let row = _mm512_inserti32x4::<1>(first, _mm_loadu_si128(window.add(b).cast()));
            let row = _mm512_inserti32x4::<2>(row, _mm_loadu_si128(window.add(c).cast()));
            let row = _mm512_inserti32x4::<3>(row, _mm_loadu_si128(window.add(d).cast()));
            _mm512_storeu_si512(rows.add(index * ROW).cast(), row);
        }
    }
}

/// # Safety
/// As for [`gather`].
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn gather_any(windows: &[*const u8], pieces: &[Piece], rows: *mut u8) {
    let covered = pieces.iter().map(|piece| piece.len).sum::<usize>() == ROW;
    for (index, window) in windows.iter().enumerate() {
        let row = rows.wrapping_add(index * ROW);
        // SAFETY: the caller's promise.
        unsafe {
            if !covered {
                _mm512_storeu_si512(row.cast(), _mm512_setzero_si512());
            }
            for piece in pieces {
                copy(window.add(piece.from), row.add(piece.to), piece.len);
            }
        }
    }
}

/// Copies up to [`ROW`] bytes; the lengths that first layers have by plain moves, which are faster than masked ones.
///
/// # Safety
/// There must be vectors of 512 bits with bytes as elements; `len` bytes must be readable and writable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's promise; a mask has a bit for each byte that is read and written.
    unsafe {
        match len {
            4 => to.cast::<u32>().write_unaligned(from.cast::<u32>().read_unaligned()),
            8 => to.cast::<u64>().write_unaligned(from.cast::<u64>().read_unaligned()),
            16 => _mm_storeu_si128(to.cast(), _mm_loadu_si128(from.cast())),
            _ => {
                let mask = u64::MAX >> (ROW - len);
                let bytes: __m512i = _mm512_maskz_loadu_epi8(mask, from.cast());
                _mm512_mask_storeu_epi8(to.cast(), mask, bytes);
            }
        }
    }
}

/// Fetches the cache line of an address that will be written soon; any address will do.
#[inline(always)]
pub(crate) fn prefetch_for_writing(at: *const u8) {
    // SAFETY: a prefetch reads and writes nothing.
    unsafe { _mm_prefetch::<_MM_HINT_ET0>(at.cast()) };
}

/// Transposes pairs of bfloat16 numbers: from `count` rows of 8 pairs each, one behind the other, to 8 rows of `count`.
///
/// # Safety
/// There must be vectors of 512 bits; `count`, 1 to 16, rows of 32 bytes must be readable from `from` on, and `count` pairs
/// writable in each of 8 rows, 128 bytes apart, from `to` on.
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn transpose_pairs(from: *const u8, count: usize, to: *mut u8) {
    let rows = _mm512_setr_epi32(0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120);
    let mask = (0xffff_u32 >> (ROWS - count)) as u16;
    for pair in 0..8 {
        // SAFETY: the caller's promise; the mask has a bit for each row that there is.
        unsafe {
            let zero = _mm512_setzero_si512();
            let pairs = _mm512_mask_i32gather_epi32::<4>(zero, mask, rows, from.add(4 * pair).cast());
            _mm512_mask_storeu_epi32(to.add(128 * pair).cast(), mask, pairs);
        }
    }
}

/// Writes the numbers at `low` and `high` in turn, 16 of each.
///
/// # Safety
/// There must be vectors of 512 bits; 32 bytes must be readable at `low` and `high`, and 64 writable at `to`.
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn interleave(low: *const u8, high: *const u8, to: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        let low = _mm512_cvtepu16_epi32(_mm256_loadu_si256(low.cast()));
        let high = _mm512_cvtepu16_epi32(_mm256_loadu_si256(high.cast()));
        _mm512_storeu_si512(to.cast(), _mm512_or_si512(low, _mm512_slli_epi32::<16>(high)));
    }
}

/// The largest of 16 numbers.
///
/// # Safety
/// There must be vectors of 512 bits; 16 numbers must be readable at each pointer.
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn largest(numbers: *const f32) -> f32 {
    // SAFETY: the caller's promise.
    _mm512_reduce_max_ps(unsafe { _mm512_loadu_ps(numbers) })
}

/// The sum of 16 numbers.
///
/// # Safety
/// As for [`largest`].
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn sum(numbers: *const f32) -> f32 {
    // SAFETY: the caller's promise.
    _mm512_reduce_add_ps(unsafe { _mm512_loadu_ps(numbers) })
}
