// torch.manual_seed, torch.set_num_threads and flash.warn belong to the whole process.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
