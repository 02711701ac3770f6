using System.Text;
using Gpt2.Cli;

Console.OutputEncoding = Encoding.UTF8;
return Application.Run(args, Console.Out, Console.Error);
