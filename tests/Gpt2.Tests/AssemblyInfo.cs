// Torch's random generator and its count of living tensors belong to the whole process.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
