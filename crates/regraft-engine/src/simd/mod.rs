//! Sixteen single-precision lanes, on whatever vectors the processor has.
//!
//! A kernel is written once over [`Simd`] and compiled once for each instruction set: [`launch`] enters it through a
//! function with `#[target_feature]`, and everything below is `#[inline(always)]`, so that the whole kernel is compiled
//! with those instructions. Kernels therefore use plain loops: a closure that is not inlined would lose them. A value of
//! a [`Simd`] type is the proof that its instructions exist, for only `detect` makes one.
//!
//! A kernel that chooses among many constants (sizes of a tile, types of numbers) makes each case a kernel of its own and
//! enters it by [`Simd::call`]: some passes of the compiler take more than linear time in the length of a function, and
//! with all cases inlined into one the crate took more than twice as long to compile.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod functions;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

use crate::{
    InstructionSet, Precision, Settings,
    element::{BFloat16, Number as _, UInt8},
};

/// Lanes of a vector, and channels of a block.
pub(crate) const LANES: usize = 16;

/// Arithmetic on [`LANES`] numbers at once.
pub(crate) trait Simd: Copy {
    /// The lanes.
    type Vector: Copy;
    /// A pair of bfloat16 numbers for each lane.
    type Pairs: Copy;
    /// Four bytes for each lane.
    type Quads: Copy;
    /// A 32-bit integer for each lane.
    type Integers: Copy;
    /// Output pixels of a dense tile: with [`Self::BLOCKS`] it fills the register file with sums.
    const PIXELS: usize;
    /// Blocks of output channels of a dense tile.
    const BLOCKS: usize;

    /// The same number in all lanes.
    fn splat(self, value: f32) -> Self::Vector;
    /// Reads 16 numbers.
    ///
    /// # Safety
    /// `from` must be valid for reading 16 numbers; any alignment.
    unsafe fn load(self, from: *const f32) -> Self::Vector;
    /// Writes 16 numbers.
    ///
    /// # Safety
    /// `to` must be valid for writing 16 numbers; any alignment.
    unsafe fn store(self, to: *mut f32, value: Self::Vector);
    /// As [`Self::store`], past the caches where the instruction set can. Other threads may read it after [`Self::fence`].
    ///
    /// # Safety
    /// `to` must be valid for writing 16 numbers, and on a line of 64 bytes.
    #[inline(always)]
    unsafe fn stream(self, to: *mut f32, value: Self::Vector) {
        // SAFETY: the caller's promise.
        unsafe { self.store(to, value) };
    }
    /// Ends what [`Self::stream`] has written before anything that is written after it.
    #[inline(always)]
    fn fence(self) {}
    /// `a + b`.
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a · b + c`, rounded once where the instruction set can.
    fn multiply_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `a · b`.
    fn multiply(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a / b`.
    fn divide(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The nearest whole number, for |x| < 2²²; not-a-number stays.
    fn round(self, x: Self::Vector) -> Self::Vector;
    /// `x · 2ⁿ` for normal `x` and whole `n` whose result is normal; `x` that is not a number stays.
    fn scale(self, x: Self::Vector, n: Self::Vector) -> Self::Vector;
    /// `min(max(x, low), high)`; not-a-number stays.
    fn clamp(self, x: Self::Vector, low: Self::Vector, high: Self::Vector) -> Self::Vector;
    /// Reads 16 bfloat16 numbers.
    ///
    /// # Safety
    /// `from` must be valid for reading 16 numbers; any alignment.
    unsafe fn load_bfloat16(self, from: *const BFloat16) -> Self::Vector;
    /// Writes 16 numbers rounded to nearest, ties to even.
    ///
    /// # Safety
    /// `to` must be valid for writing 16 numbers; any alignment.
    unsafe fn store_bfloat16(self, to: *mut BFloat16, value: Self::Vector);
    /// Reads 16 pairs.
    ///
    /// # Safety
    /// `from` must be valid for reading 32 numbers; any alignment.
    unsafe fn load_pairs(self, from: *const BFloat16) -> Self::Pairs;
    /// One pair in all lanes.
    ///
    /// # Safety
    /// `from` must be valid for reading 2 numbers; any alignment.
    unsafe fn splat_pair(self, from: *const BFloat16) -> Self::Pairs;
    /// Reads 16 pairs, whose first numbers are at `low` and whose second ones are at `high`.
    ///
    /// # Safety
    /// `low` and `high` must be valid for reading 16 numbers each; any alignment.
    unsafe fn load_interleaved(self, low: *const BFloat16, high: *const BFloat16) -> Self::Pairs;
    /// Writes 16 pairs, one number after the other, as [`Self::store_bfloat16`] rounds them.
    ///
    /// # Safety
    /// `to` must be valid for writing 32 numbers; any alignment.
    #[inline(always)]
    unsafe fn store_interleaved(self, to: *mut BFloat16, low: Self::Vector, high: Self::Vector) {
        let mut pairs = [[BFloat16::new(0.0); 2]; LANES];
        for ((pair, low), high) in pairs.iter_mut().zip(self.lanes(low)).zip(self.lanes(high)) {
            *pair = [BFloat16::new(low), BFloat16::new(high)];
        }
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[[BFloat16; 2]; LANES]>().write_unaligned(pairs) };
    }
    /// `a₀ · b₀ + a₁ · b₁ + c`. How often that is rounded depends on the instruction set.
    fn multiply_add_pairs(self, a: Self::Pairs, b: Self::Pairs, c: Self::Vector) -> Self::Vector;
    /// `a · b + c`, rounded once on every instruction set.
    fn fused_multiply_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// Reads 16 bytes as numbers.
    ///
    /// # Safety
    /// `from` must be valid for reading 16 bytes; any alignment.
    unsafe fn load_uint8(self, from: *const UInt8) -> Self::Vector;
    /// Writes 16 numbers as [`UInt8::new`](crate::element::Number::new) makes them.
    ///
    /// # Safety
    /// `to` must be valid for writing 16 bytes; any alignment.
    unsafe fn store_uint8(self, to: *mut UInt8, value: Self::Vector);
    /// Writes `min(max(x, low), high)`, for 0 ≤ low ≤ high ≤ 255, as 16 bytes, rounded to nearest, ties to even;
    /// not-a-number becomes `low`.
    ///
    /// # Safety
    /// `to` must be valid for writing 16 bytes; any alignment.
    unsafe fn store_levels(self, to: *mut UInt8, x: Self::Vector, low: Self::Vector, high: Self::Vector);
    /// As [`Self::store_levels`], of four vectors.
    ///
    /// # Safety
    /// As for [`Self::store_levels`], for each.
    #[inline(always)]
    unsafe fn store_levels_four(
        self,
        to: [*mut UInt8; 4],
        x: [Self::Vector; 4],
        low: Self::Vector,
        high: Self::Vector,
    ) {
        for (to, x) in to.into_iter().zip(x) {
            // SAFETY: the caller's promise.
            unsafe { self.store_levels(to, x, low, high) };
        }
    }
    /// Reads 16 quads.
    ///
    /// # Safety
    /// `from` must be valid for reading 64 bytes.
    unsafe fn load_quads(self, from: *const UInt8) -> Self::Quads;
    /// One quad in all lanes.
    ///
    /// # Safety
    /// `from` must be valid for reading 4 bytes.
    unsafe fn splat_quad(self, from: *const UInt8) -> Self::Quads;
    /// Reads 16 integers.
    ///
    /// # Safety
    /// `from` must be valid for reading 16 integers; any alignment.
    unsafe fn load_integers(self, from: *const i32) -> Self::Integers;
    /// `Σ a · b + c` over the quads, of unsigned bytes in `a` and signed ones in `b`; modulo 2³².
    fn multiply_add_quads(self, a: Self::Quads, b: Self::Quads, c: Self::Integers) -> Self::Integers;
    /// The integers, rounded to nearest, ties to even.
    fn to_vector(self, x: Self::Integers) -> Self::Vector;
    /// `x` where `a > b`, else zero.
    fn where_greater(self, a: Self::Vector, b: Self::Vector, x: Self::Vector) -> Self::Vector;
    /// The larger one, and not-a-number if either is.
    fn maximum(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// Lane `i` of vector `j` becomes lane `j` of vector `i`.
    #[inline(always)]
    fn transpose(self, vectors: [Self::Vector; LANES]) -> [Self::Vector; LANES] {
        let (mut columns, mut result) = ([[0.0; LANES]; LANES], vectors);
        for (row, vector) in vectors.into_iter().enumerate() {
            for (column, number) in columns.iter_mut().zip(self.lanes(vector)) {
                if let Some(place) = column.get_mut(row) {
                    *place = number;
                }
            }
        }
        for (vector, column) in result.iter_mut().zip(&columns) {
            // SAFETY: the array has 16 numbers.
            *vector = unsafe { self.load(column.as_ptr()) };
        }
        result
    }

    /// Asks for the line of memory at an address, which need not be valid, to be brought near.
    #[inline(always)]
    fn prefetch<T>(self, address: *const T) {
        let _ = address;
    }

    /// Runs a kernel as a function of its own.
    fn call<K: Kernel>(self, kernel: &K);

    /// The lanes as numbers.
    #[inline(always)]
    fn lanes(self, x: Self::Vector) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: the array has 16 numbers.
        unsafe { self.store(lanes.as_mut_ptr(), x) };
        lanes
    }
}

/// A computation written over [`Simd`].
pub(crate) trait Kernel {
    /// Computes. Implementations must be `#[inline(always)]`.
    fn run<S: Simd>(&self, simd: S);

    // The doors into a kernel. They are the kernel's methods, because methods are compiled where the kernel is and so in
    // parallel with other kernels; and never inlined, because a door that one place alone goes through would be.

    /// With instructions that every processor has.
    #[inline(never)]
    fn run_portable(&self) {
        self.run(Portable);
    }

    /// With 256-bit vectors.
    ///
    /// # Safety
    /// The processor must have AVX2 and FMA, of which `simd` is the proof.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    #[inline(never)]
    unsafe fn run_avx2(&self, simd: Avx2) {
        self.run(simd);
    }

    /// With 512-bit vectors.
    ///
    /// # Safety
    /// The processor must have AVX-512F, of which `simd` is the proof.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    #[inline(never)]
    unsafe fn run_avx512(&self, simd: Avx512<false, false>) {
        self.run(simd);
    }

    /// With dot products of bfloat16 numbers.
    ///
    /// # Safety
    /// The processor must have AVX-512F and AVX-512 BF16, of which `simd` is the proof.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bf16")]
    #[inline(never)]
    unsafe fn run_bfloat16(&self, simd: Avx512<true, false>) {
        self.run(simd);
    }

    /// With dot products of bytes.
    ///
    /// # Safety
    /// The processor must have AVX-512F, BW and VNNI, of which `simd` is the proof.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline(never)]
    unsafe fn run_int8(&self, simd: Avx512<false, true>) {
        self.run(simd);
    }
}

/// As [`launch`], with instructions for the precision where there are some.
pub(crate) fn launch_with<K: Kernel>(settings: Settings, kernel: &K) {
    #[cfg(target_arch = "x86_64")]
    if settings.precision.is_native(settings.instruction_set)
        && settings.precision == Precision::BFloat16
        && let Some(simd) = Avx512::<true, false>::detect()
    {
        return simd.call(kernel);
    }
    launch(settings.instruction_set, kernel);
}

/// Whether the processor has dot products of bfloat16 numbers.
pub(crate) fn has_bfloat16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return Avx512::<true, false>::detect().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Runs a kernel of products of bytes, with instructions for them where there are some.
pub(crate) fn launch_int8<K: Kernel>(set: InstructionSet, kernel: &K) {
    #[cfg(target_arch = "x86_64")]
    if set.is_wide()
        && let Some(simd) = Avx512::<false, true>::detect()
    {
        return simd.call(kernel);
    }
    launch(set, kernel);
}

/// Runs a kernel of products of tiles, which exist beside the widest vectors only: `INTEGER` for bytes, else bfloat16.
#[cfg(target_arch = "x86_64")]
pub(crate) fn launch_tiles<K: Kernel, const INTEGER: bool>(kernel: &K) {
    if INTEGER {
        if let Some(simd) = Avx512::<false, true>::detect() {
            simd.call(kernel);
        }
    } else if let Some(simd) = Avx512::<true, false>::detect() {
        simd.call(kernel);
    }
}

/// Whether the processor has dot products of bytes.
pub(crate) fn has_int8() -> bool {
    #[cfg(target_arch = "x86_64")]
    return Avx512::<false, true>::detect().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Runs a kernel with an instruction set; with the portable one where the processor lacks it.
pub(crate) fn launch<K: Kernel>(set: InstructionSet, kernel: &K) {
    #[cfg(target_arch = "x86_64")]
    match set {
        InstructionSet::Amx | InstructionSet::Avx512 => {
            if let Some(simd) = Avx512::<false, false>::detect() {
                return simd.call(kernel);
            }
        }
        InstructionSet::Avx2 => {
            if let Some(simd) = Avx2::detect() {
                return simd.call(kernel);
            }
        }
        InstructionSet::Portable => {}
    }
    let _ = set;
    Portable.call(kernel);
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test")]
mod tests {
    use super::*;

    /// Sums of quads of extreme and middling bytes.
    struct Sums<'a>(std::cell::RefCell<&'a mut Vec<f32>>);

    impl Kernel for Sums<'_> {
        #[inline(always)]
        fn run<S: Simd>(&self, simd: S) {
            // The first lanes have the largest sums of both signs.
            let bytes = |first: [u8; 2], step: usize| {
                std::array::from_fn::<UInt8, 64, _>(|index| {
                    let middling = [255, 128, 127, 0, 1, 200][(index * step + index / 7) % 6];
                    UInt8::of_bits(first.get(index / 4).copied().unwrap_or(middling))
                })
            };
            let (a, b, start) = (bytes([255; 2], 1), bytes([127, 128], 5), [-3; LANES]);
            // SAFETY: the arrays have 64 bytes and 16 integers.
            let (a, b, start) = unsafe {
                (simd.load_quads(a.as_ptr()), simd.load_quads(b.as_ptr()), simd.load_integers(start.as_ptr()))
            };
            let sums = simd.lanes(simd.to_vector(simd.multiply_add_quads(a, b, start)));
            self.0.borrow_mut().extend(sums);
        }
    }

    /// A matrix of its places, turned.
    struct Turned(std::cell::RefCell<Vec<f32>>);

    impl Kernel for Turned {
        #[inline(always)]
        fn run<S: Simd>(&self, simd: S) {
            let mut vectors = [simd.splat(0.0); LANES];
            for (row, vector) in vectors.iter_mut().enumerate() {
                let numbers: [f32; LANES] = std::array::from_fn(|lane| (row * LANES + lane) as f32);
                // SAFETY: the array has 16 numbers.
                *vector = unsafe { simd.load(numbers.as_ptr()) };
            }
            self.0.borrow_mut().extend(simd.transpose(vectors).into_iter().flat_map(|row| simd.lanes(row)));
        }
    }

    #[test]
    fn sixteen_vectors_are_turned() {
        for set in InstructionSet::ALL.into_iter().filter(|set| set.is_available()) {
            let turned = Turned(Default::default());
            launch(set, &turned);
            let expected = (0..LANES * LANES).map(|place| (place % LANES * LANES + place / LANES) as f32);
            assert!(turned.0.into_inner().into_iter().eq(expected), "{set:?}");
        }
    }

    #[test]
    fn products_of_bytes_are_exact_with_and_without_instructions_for_them() {
        let mut expected = Vec::new();
        launch(InstructionSet::Portable, &Sums(std::cell::RefCell::new(&mut expected)));
        assert!(expected.iter().any(|sum| sum.abs() > 129_000.0));
        for set in InstructionSet::ALL {
            let (mut without, mut with) = (Vec::new(), Vec::new());
            launch(set, &Sums(std::cell::RefCell::new(&mut without)));
            launch_int8(set, &Sums(std::cell::RefCell::new(&mut with)));
            assert_eq!([&without, &with], [&expected; 2]);
        }
    }
}
