using System.Reflection;
using TorchSharp.Utils;

namespace TorchSharp.Utils
{
    /// <summary>Gives a module's field another name in the state dictionary than that of the field.</summary>
    public class ComponentNameAttribute : Attribute
    {
        /// <summary>The name to register the component under.</summary>
        public string? Name { get; set; }
    }
}

namespace TorchSharp
{
    /// <summary>The name under which a field's value is registered as a component.</summary>
    public static class FieldInfoExtensionMethods
    {
        /// <summary>The name that <see cref="ComponentNameAttribute"/> gives the field, else the field's own.</summary>
        /// <param name="field">A field of a module.</param>
        public static string ComponentName(this FieldInfo field) => field.GetCustomAttribute<ComponentNameAttribute>()?.Name ?? field.Name;
    }
}
