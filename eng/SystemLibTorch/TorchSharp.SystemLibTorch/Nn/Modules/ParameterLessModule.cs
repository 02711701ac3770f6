using static TorchSharp.torch;

namespace TorchSharp.Modules;

/// <summary>A module without parameters and buffers of its own or in its submodules.</summary>
public interface IParameterLessModule
{
}

/// <summary>Base class of modules of one input that have no parameters and no buffers, so that converting them does nothing.</summary>
public abstract class ParameterLessModule<T1, TResult> : nn.Module<T1, TResult>, IParameterLessModule
{
    /// <param name="name">Name of the module's kind.</param>
    protected ParameterLessModule(string name)
        : base(name)
    {
    }

    /// <inheritdoc/>
    protected internal override nn.Module _to(Device device, ScalarType dtype, bool non_blocking) => this;

    /// <inheritdoc/>
    protected internal override nn.Module _to(DeviceType deviceType, int deviceIndex, bool non_blocking) => this;

    /// <inheritdoc/>
    protected internal override nn.Module _to(ScalarType dtype, bool non_blocking) => this;

    /// <summary>Not possible here.</summary>
    /// <exception cref="InvalidOperationException">Always.</exception>
    public override void register_buffer(string name, Tensor tensor, bool persistent = true) =>
        throw new InvalidOperationException("A buffer cannot be registered with a module that is declared parameter-less.");

    /// <summary>Not possible here.</summary>
    /// <exception cref="InvalidOperationException">Always.</exception>
    public override void register_parameter(string name, Parameter param) =>
        throw new InvalidOperationException("A parameter cannot be registered with a module that is declared parameter-less.");

    /// <inheritdoc/>
    /// <exception cref="InvalidOperationException">The submodule is not parameter-less.</exception>
    public override void register_module(string name, nn.Module submodule)
    {
        if (submodule is not IParameterLessModule)
        {
            throw new InvalidOperationException("The submodules of a parameter-less module must be parameter-less too.");
        }

        base.register_module(name, submodule);
    }
}
