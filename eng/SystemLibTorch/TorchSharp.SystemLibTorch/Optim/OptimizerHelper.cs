using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.optim;

namespace TorchSharp.Modules;

/// <summary>Base class of the optimisers: groups of parameters, and a state for each parameter.</summary>
public abstract class OptimizerHelper : Optimizer
{
    private readonly Dictionary<Parameter, OptimizerState> states = new(ReferenceEqualityComparer.Instance);

    /// <summary>An optimiser without groups.</summary>
    public OptimizerHelper()
    {
    }

    /// <inheritdoc/>
    public override void add_param_group(ParamGroup param_group)
    {
        ArgumentNullException.ThrowIfNull(param_group);
        var options = WithDefaults(param_group.Options);
        options.InitialLearningRate = options.LearningRate!.Value;
        param_group.Options = options;
        param_group.Parameters = [.. param_group.Parameters];
        foreach (var parameter in param_group.Parameters)
        {
            var state = NewState(parameter);
            if (!states.TryAdd(parameter, state)) throw new ArgumentException("A parameter appears in more than one place.", nameof(param_group));
            state.Initialize(options);
        }

        _parameter_groups.Add(param_group);
    }

    /// <summary>The options and states, the optimiser's own objects.</summary>
    public virtual StateDictionary state_dict()
    {
        var dictionary = new StateDictionary();
        foreach (var group in _parameter_groups)
        {
            List<int> positions = [];
            foreach (var parameter in group.Parameters)
            {
                positions.Add(dictionary.State.Count);
                dictionary.State.Add(states[parameter]);
            }

            dictionary.Options.Add(group.Options);
            dictionary.StateIndexRef.Add(positions);
        }

        return dictionary;
    }

    /// <summary>Copies options and states from another optimiser's.</summary>
    /// <param name="state_dict">What another optimiser of the same kind, groups and shapes returned from <see cref="state_dict"/>.</param>
    /// <exception cref="ArgumentException">The numbers of groups or parameters differ.</exception>
    public virtual void load_state_dict(StateDictionary state_dict)
    {
        ArgumentNullException.ThrowIfNull(state_dict);
        var own = this.state_dict();
        RequireSameCounts(own, state_dict.Options.Count, state_dict.State.Count);
        foreach (var (target, source) in own.Options.Zip(state_dict.Options).Where(pair => pair.First != pair.Second)) target.LoadStateDict(source);
        foreach (var (target, source) in own.State.Zip(state_dict.State).Where(pair => pair.First != pair.Second)) target.LoadStateDict(source);
    }

    /// <summary>Writes options and states to a file.</summary>
    /// <param name="location">Path of the file.</param>
    public void save_state_dict(string location)
    {
        using var writer = new BinaryWriter(File.Create(location));
        save_state_dict(writer);
    }

    /// <summary>Writes the optimiser's class name, the LEB128 numbers of groups and parameters, the options, the states.</summary>
    /// <param name="writer">Where to.</param>
    public void save_state_dict(BinaryWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        var dictionary = state_dict();
        writer.Write(GetType().Name);
        writer.Encode(dictionary.Options.Count);
        writer.Encode(dictionary.State.Count);
        foreach (var options in dictionary.Options) options.SaveStateDict(writer);
        foreach (var state in dictionary.State) state.SaveStateDict(writer);
    }

    /// <summary>Reads options and states from a file.</summary>
    /// <param name="location">Path of the file.</param>
    public void load_state_dict(string location)
    {
        using var reader = new BinaryReader(File.OpenRead(location));
        load_state_dict(reader);
    }

    /// <summary>Reads options and states that <see cref="save_state_dict(BinaryWriter)"/> wrote.</summary>
    /// <param name="reader">Where from.</param>
    /// <exception cref="InvalidDataException">They are those of another kind of optimiser.</exception>
    /// <exception cref="ArgumentException">The numbers of groups or parameters differ.</exception>
    public void load_state_dict(BinaryReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        var kind = reader.ReadString();
        if (kind != GetType().Name) throw new InvalidDataException($"Mismatched optimizer type: expected '{GetType().Name}', but found '{kind}'.");
        var own = state_dict();
        RequireSameCounts(own, reader.Decode(), reader.Decode());
        foreach (var options in own.Options) options.LoadStateDict(reader);
        foreach (var state in own.State) state.LoadStateDict(reader);
    }

    /// <summary>Moves the state to another device.</summary>
    /// <param name="device">The device.</param>
    public void to(Device device)
    {
        foreach (var state in states.Values) state.to(device);
    }

    private protected override void DisposeState()
    {
        foreach (var state in states.Values) (state as IDisposable)?.Dispose();
    }

    /// <summary>The options with the optimiser's defaults for what they leave open; new ones if null.</summary>
    private protected abstract OptimizerOptions WithDefaults(OptimizerOptions? options);

    private protected abstract OptimizerState NewState(Parameter parameter);

    /// <summary>
    /// Runs the closure, if any, with gradients recorded, then the update of each parameter that has a gradient with
    /// recording off. Tensors that an update leaves behind are disposed.
    /// </summary>
    private protected Tensor? Step<TOptions, TState>(Func<Tensor>? closure, Action<TOptions, Parameter, Tensor, TState> update)
        where TOptions : OptimizerOptions
        where TState : OptimizerState
    {
        Tensor? loss = null;
        if (closure is not null)
        {
            using var recording = enable_grad();
            loss = closure();
        }

        using var inference = no_grad();
        foreach (var group in _parameter_groups)
        {
            foreach (var parameter in group.Parameters)
            {
                using var scope = NewDisposeScope();
                if (parameter.grad is { } gradient) update((TOptions)group.Options, parameter, gradient, (TState)states[parameter]);
            }
        }

        return loss;
    }

    private static void RequireSameCounts(StateDictionary own, long groups, long parameters)
    {
        if (groups != own.Options.Count || parameters != own.State.Count)
        {
            throw new ArgumentException(
                $"Invalid optimizer state: the optimizer has {own.Options.Count} groups and {own.State.Count} parameters, the state {groups} and {parameters}.");
        }
    }
}
