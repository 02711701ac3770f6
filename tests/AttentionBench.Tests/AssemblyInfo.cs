// Torch's random generator and its thread count belong to the whole process, and so does the console.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
